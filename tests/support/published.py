"""Broadcasts of real media, published by the library alone: the output of a live stream, made in a second."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from streamwave.broadcasts import catalog, index
from streamwave.broadcasts.catalog import Broadcast, Output
from streamwave.manifest.lines import BroadcastLine
from streamwave.manifest.packaged import PackagedChunk
from streamwave.model import Rendition
from streamwave.pipeline.chunk import make, place
from streamwave.pipeline.job import Job
from streamwave.publish.publication import Publication
from streamwave.receive.segmenter import Segmenter
from streamwave.spool.broadcast import BroadcastInfo
from streamwave.spool.journal import ChunkLine, JournalReader
from streamwave.spool.options import Options
from streamwave.storage.store import open_store
from tests.support.media import Clip, ffmpeg_path

LARGE = Rendition(name="large", kind="video", width=160, height=90, max_bps=300_000)
SMALL = Rendition(name="small", kind="video", width=106, height=60, max_bps=150_000)
AUDIO = Rendition(name="audio", kind="audio", max_bps=128_000)
CREATED_MS = 1_767_000_000_000
PATH = "stage/20260101-000000-abcd"


def packaged(
    folder: Path, clip: Clip, renditions: Sequence[Rendition] = (LARGE, SMALL, AUDIO), *, b_frames: bool = True
) -> list[PackagedChunk]:
    """Receive, transcode and package ``clip`` in ``folder``: one chunk per keyframe, of at least one second."""
    Segmenter(Options(source=f"file:{clip.path}", spool=folder / "spool", segment_ms=1000)).run()
    job = Job(
        session="000000", period="p0", token="t", spool=str(folder / "spool"), work=str(folder / "work"),
        output=str(folder / "out"), manifests=True, rate=clip.rate, segment_ms=1000, renditions=tuple(renditions),
        ffmpeg_path=ffmpeg_path(), preset="ultrafast", crf=30, encoder_threads=1, b_frames=b_frames,
        ffmpeg_slots=2, ffmpeg_timeout_s=60, retries=0,
    )  # fmt: skip
    lines = JournalReader(folder / "spool").read()
    return [make(job, place(job, line.chunk)) for line in lines if isinstance(line, ChunkLine)]


def publish(
    output: Output,
    *sessions: Sequence[PackagedChunk],
    path: str = PATH,
    away_ms: int = 5000,
    finish: bool = True,
    created_ms: int = CREATED_MS,
    dvr_window_ms: int | None = None,
    keep: bool = True,
) -> Publication:
    """Publish ``sessions`` as one live broadcast; between them the publisher is disconnected for ``away_ms``."""
    stream, broadcast = path.split("/")
    root = f"{output.url}/{path}"
    published = Publication(open_store(root, output.options), manifests=True, token="t")
    header = BroadcastLine(
        created_unix_ms=created_ms, segment_ms=1000, fingerprint=path, dvr_window_ms=dvr_window_ms, keep=keep,
        info={"title": "A stage"},
    )  # fmt: skip
    published.begin(header)
    at_ms = created_ms
    for number, chunks in enumerate(sessions):
        for chunk in chunks:
            published.publish(chunk, f"{number:06d}", f"p{number}", at_ms)
        at_ms += int(published.timeline.periods[-1].duration * 1000) + away_ms
    if finish:
        published.finish()
    info = BroadcastInfo(stream=stream, broadcast=broadcast, created_unix_ms=created_ms, output=root, title="A stage")
    index.update_at(published, info, output.store())
    published.close()
    return published


def only(output: Output, name: str, now_unix_ms: int) -> Broadcast:
    """The broadcast ``name`` at this output."""
    ((_, found),), faults = catalog.find([output], name, now_unix_ms)
    assert faults == []
    return found


def files(root: Path) -> dict[str, bytes]:
    """All files except the ledger, which has times and a token."""
    found = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    return {name: data for name, data in found.items() if not name.startswith("ledger/")}
