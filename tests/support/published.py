"""Broadcasts of real media, published by the library alone: what a live stream leaves at an output, in a second."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from streamwave.broadcasts import catalog, index
from streamwave.broadcasts.catalog import Broadcast, Output
from streamwave.ffmpeg.commands import EncoderSettings
from streamwave.ffmpeg.locate import locate
from streamwave.ffmpeg.process import Launcher
from streamwave.ffmpeg.transcode import Transcoder, wrap_audio
from streamwave.manifest.ledger import BroadcastLine
from streamwave.manifest.packaged import PackagedChunk
from streamwave.model import Rendition
from streamwave.pipeline.job import place
from streamwave.pipeline.package import package
from streamwave.publish.publication import Publication
from streamwave.receive.segmenter import Options, Segmenter
from streamwave.spool.broadcast import BroadcastInfo
from streamwave.spool.journal import ChunkLine, JournalReader
from streamwave.storage.store import open_store
from tests.support.media import Clip

LARGE = Rendition(name="large", kind="video", width=160, height=90, max_bps=300_000)
SMALL = Rendition(name="small", kind="video", width=106, height=60, max_bps=150_000)
AUDIO = Rendition(name="audio", kind="audio", max_bps=128_000)
CREATED_MS = 1_767_000_000_000
PATH = "stage/20260101-000000-abcd"


class _Place:
    """What ``place`` asks of a job."""

    def __init__(self, rate: Fraction, spool: Path) -> None:
        self.rate, self.spool, self.segment_ms, self.passthrough = rate, str(spool), 1000, None


def packaged(
    folder: Path, clip: Clip, renditions: Sequence[Rendition] = (LARGE, SMALL, AUDIO), *, b_frames: bool = True
) -> list[PackagedChunk]:
    """``clip`` received, transcoded and packaged: a chunk per keyframe, a second at least; files lie in ``folder``."""
    Segmenter(Options(source=f"file:{clip.path}", spool=folder / "spool", segment_ms=1000)).run()
    encoder = EncoderSettings("ultrafast", 30, 1, b_frames=b_frames)
    transcoder = Transcoder(locate().path, encoder, Launcher(2), folder / "work", 60)
    chunks = []
    for line in JournalReader(folder / "spool").read():
        if isinstance(line, ChunkLine):
            job: Any = _Place(clip.rate, folder / "spool")
            chunk = place(job, line.chunk)
            video = [r for r in renditions if r.kind == "video"]
            if video:
                transcoder.encode(chunk, video)
            for rendition in renditions:
                if rendition.kind == "audio":
                    wrap_audio(transcoder, chunk, rendition)
            results = {r.name: transcoder.result_path(chunk, r.name) for r in renditions}
            chunks.append(package(chunk, results, renditions, folder / "packaged"))
    return chunks


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
    """Publish ``sessions`` as one live broadcast; between them the publisher is away for ``away_ms``."""
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
    """The broadcast that ``name`` means at this one output."""
    ((_, found),), faults = catalog.find([output], name, now_unix_ms)
    assert faults == []
    return found
