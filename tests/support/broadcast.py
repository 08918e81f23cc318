"""Packaged chunks for tests of publishing: small files whose bytes identify their chunk and rendition."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path

from streamwave.manifest.lines import BroadcastLine
from streamwave.manifest.packaged import PackagedChunk, PackagedSegment, PackagedTrack
from streamwave.model import Rendition

HEADER = BroadcastLine(created_unix_ms=1_767_000_000_000, segment_ms=2000, fingerprint="job")
VIDEO = Rendition(name="360p", kind="video", width=640, height=360, max_bps=800_000)
AUDIO = Rendition(name="audio", kind="audio", max_bps=128_000)
#: A whole ladder: five objects and six playlists and manifests a chunk.
LADDER = (
    *(
        Rendition(name=f"{height}p", kind="video", width=height * 16 // 9, height=height, max_bps=height * 2000)
        for height in (1080, 720, 480, 360)
    ),
    AUDIO,
)


def chunk(
    folder: Path,
    number: int,
    init: bytes = b"init",
    renditions: tuple[Rendition, ...] = (VIDEO, AUDIO),
    repeat: int = 50,
) -> PackagedChunk:
    """A packaged chunk of 50 video frames and 94 AAC frames; ``number`` determines its content, ``repeat`` its size."""
    folder.mkdir(exist_ok=True)

    def track(rendition: Rendition, timescale: int, duration: int, codecs: str, rate: Fraction | None) -> PackagedTrack:
        data = f"{rendition.name} {number} ".encode() * repeat
        media, head = folder / f"{number}-{rendition.name}.m4s", folder / f"{number}-{rendition.name}.mp4"
        media.write_bytes(data)
        head.write_bytes(init)
        segment = PackagedSegment(time=number * duration, duration=duration, size=len(data), path=str(media))
        return PackagedTrack(
            rendition=rendition, timescale=timescale, codecs=codecs, init_path=str(head), init_size=len(init),
            init_sha256=hashlib.sha256(init).hexdigest(), frame_rate=rate, segments=(segment,),
        )  # fmt: skip

    return PackagedChunk(
        number=number,
        tracks=tuple(
            track(one, 25000, 50_000, "avc1.64001E", Fraction(25))
            if one.kind == "video"
            else track(one, 48000, 94 * 1024, "mp4a.40.2", None)
            for one in renditions
        ),
    )
