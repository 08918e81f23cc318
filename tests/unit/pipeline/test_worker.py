"""What the tasks of one process share."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from streamwave.model import Rendition
from streamwave.pipeline.job import Job
from streamwave.pipeline.worker import Worker


def job(folder: Path, token: str = "t") -> Job:
    """As it comes out of a message: equal, and never the same object."""
    sound = Rendition(name="audio", kind="audio", max_bps=128_000)
    return Job(
        session="file", period="p0", token=token, spool=str(folder / "spool"), work=str(folder / "work"),
        output=str(folder / "out"), manifests=False, rate=Fraction(25), segment_ms=2000, renditions=(sound,),
        ffmpeg_path="ffmpeg", preset="superfast", crf=23, encoder_threads=1, ffmpeg_slots=1, ffmpeg_timeout_s=60,
    )  # fmt: skip


def test_one_publication_per_worker_and_run(tmp_path: Path) -> None:
    worker = Worker()
    first = worker.publication(job(tmp_path))
    assert worker.publication(job(tmp_path)) is first
    assert worker.publication(job(tmp_path, "another")) is not first
    for token in ("t", "another", "never"):
        worker.release(job(tmp_path, token))
    again = worker.publication(job(tmp_path))
    assert again is not first
    worker.release(job(tmp_path))


def test_another_worker_shares_nothing(tmp_path: Path) -> None:
    one, other, mine = Worker(), Worker(), job(tmp_path)
    assert one.publication(mine) is not other.publication(mine)
    assert one.shared_decode is not other.shared_decode
    one.release(mine)
    other.release(mine)
