"""A chunk after the package step: media segments as files, ready to be published and recorded in the ledger."""

from __future__ import annotations

from streamwave.model import Frozen, Rational, Rendition


class PackagedSegment(Frozen):
    """A media segment ready to be stored: ``[time, time + duration)`` in ticks, its bytes in the file ``path``.

    ``digest`` is that of the bytes; empty where nobody has made one.
    """

    time: int
    duration: int
    size: int
    path: str
    digest: str = ""


class PackagedTrack(Frozen):
    """One rendition of a packaged chunk. ``init_path`` holds the init segment, ``init_sha256`` tells whether it changed."""

    rendition: Rendition
    timescale: int
    codecs: str
    init_path: str
    init_sha256: str
    init_size: int
    frame_rate: Rational | None
    segments: tuple[PackagedSegment, ...]
    captions: bool = False  # its pictures carry captions


class PackagedChunk(Frozen):
    """All renditions of a chunk, checked and in place."""

    number: int
    tracks: tuple[PackagedTrack, ...]
    closed_unix_ms: int = 0
    filled: tuple[str, ...] = ()  # renditions in which nothing of the chunk could be decoded
    damaged: bool = False  # some of its pictures could not, and another one stands still in their place

    @property
    def size_bytes(self) -> int:
        """Size of all its media segments."""
        return sum(segment.size for track in self.tracks for segment in track.segments)
