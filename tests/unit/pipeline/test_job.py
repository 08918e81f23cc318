"""Where received chunks lie on the grid, and that a job is the same job wherever it is read."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from streamwave.errors import MediaError
from streamwave.model import ChunkRecord, Rendition
from streamwave.pipeline.job import Job, place
from streamwave.timing import round_half_up
from streamwave.util.digest import fingerprint

NTSC = Fraction(30000, 1001)


def job(tmp_path: Path = Path("/nowhere"), rate: Fraction = NTSC, **changes: object) -> Job:
    values = {
        "session": "file", "period": "p0", "token": "t", "spool": str(tmp_path / "spool"), "work": str(tmp_path / "work"),
        "output": str(tmp_path / "out"), "manifests": False, "rate": rate, "segment_ms": 2000, "ffmpeg_path": "ffmpeg",
        "renditions": (Rendition(name="360p", kind="video", width=640, height=360, max_bps=800_000),
                       Rendition(name="audio", kind="audio", max_bps=128_000)),
        "preset": "superfast", "crf": 23, "encoder_threads": 2, "ffmpeg_slots": 2, "ffmpeg_timeout_s": 60,
    }  # fmt: skip
    return Job.model_validate({**values, **changes})


def record(number: int, start_ms: int, next_ms: int, **changes: object) -> ChunkRecord:
    values = {
        "number": number,
        "video_file": f"{number:06d}.mkv",
        "start_ms": start_ms,
        "next_ms": next_ms,
        "pictures": 1,
    }
    return ChunkRecord.model_validate({**values, **changes})


@pytest.mark.parametrize(
    "rate", [Fraction(10), Fraction(24000, 1001), Fraction(25), NTSC, Fraction(60000, 1001), Fraction(120)], ids=str
)
def test_chunks_cover_the_grid_without_a_hole_for_days(rate: Fraction) -> None:
    frames, place_ms = 0, 0
    for number in range(3000):
        length = (7 * number) % 113 + 60 if number % 500 else round_half_up(rate * 86400)
        next_ms = round_half_up((frames + length) * 1000 / rate)
        chunk = place(job(rate=rate), record(number, place_ms, next_ms))
        assert (chunk.first_frame, chunk.frame_count) == (frames, length)
        assert sum(chunk.segments) == length
        frames, place_ms = frames + length, next_ms


def test_a_long_chunk_becomes_segments_of_the_usual_length() -> None:
    assert place(job(rate=Fraction(25)), record(0, 0, 10_000)).segments == (50,) * 5
    assert place(job(rate=Fraction(25)), record(0, 0, 2_960)).segments == (74,)


def test_paths_lie_in_the_spool() -> None:
    chunk = place(job(Path("/s")), record(3, 0, 2002, audio_file="000003.aac", audio_first=10, audio_count=94))
    assert (chunk.video_path, chunk.audio_path) == ("/s/spool/000003.mkv", "/s/spool/000003.aac")
    assert (chunk.audio_first, chunk.audio_count) == (10, 94)
    assert place(job(), record(0, 0, 2002, video_file=None)).video_path is None


def test_a_chunk_that_covers_no_place() -> None:
    """A last picture of a variable rate, half-way between two places: it gets one all the same."""
    chunk = place(job(rate=Fraction(25)), record(5, 1020, 1059))
    assert (chunk.first_frame, chunk.frame_count, chunk.segments) == (26, 1, (1,))
    with pytest.raises(MediaError, match="the timestamps of chunk 5 run backwards by 1000 ms"):
        place(job(rate=Fraction(25)), record(5, 1000, 0))


def test_a_job_travels() -> None:
    assert Job.model_validate_json(job().model_dump_json()) == job()
    assert [r.name for r in job().video_renditions] == ["360p"] and job().rendition("audio").kind == "audio"


def test_fingerprints_tell_jobs_apart() -> None:
    assert fingerprint("a", 1) == fingerprint("a", 1) != fingerprint("a", 2)
    assert len(fingerprint()) == 64


def test_a_published_chunk_leaves_nothing_behind(tmp_path: Path) -> None:
    mine, folder = job(tmp_path), tmp_path / "work" / "000002"
    folder.mkdir(parents=True)
    (tmp_path / "spool").mkdir()
    assert mine.packaged_path(2).parent == folder
    for path in (mine.packaged_path(2), folder / "x.m4s", tmp_path / "spool/000002.mkv", tmp_path / "spool/000002.aac"):
        path.write_bytes(b"x")
    (tmp_path / "spool/000003.mkv").write_bytes(b"x")
    mine.forget(2)
    mine.forget(2)
    assert [p.name for p in (tmp_path / "spool").iterdir()] == ["000003.mkv"] and not folder.exists()
