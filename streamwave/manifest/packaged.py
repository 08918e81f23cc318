"""A chunk after the package step: media segments in files, ready to be published and recorded in the ledger."""

from __future__ import annotations

from streamwave.model import Frozen, Rational, Rendition


class PackagedSegment(Frozen):
    """A media segment ready to be stored: ``[time, time + duration)`` in ticks, its bytes in the file ``path``.

    ``digest`` is the digest of the bytes; empty if it has not been computed.
    """

    time: int
    duration: int
    size: int
    path: str
    digest: str = ""


class PackagedTrack(Frozen):
    """One rendition of a packaged chunk. ``init_path`` is the init segment's file; ``init_sha256`` reveals a change of it."""

    rendition: Rendition
    timescale: int
    codecs: str
    init_path: str
    init_sha256: str
    init_size: int
    frame_rate: Rational | None
    segments: tuple[PackagedSegment, ...]
    captions: bool = False  # the video carries captions


class PackagedChunk(Frozen):
    """All renditions of a chunk, checked."""

    number: int
    tracks: tuple[PackagedTrack, ...]
    closed_unix_ms: int = 0
    filled: tuple[str, ...] = ()  # renditions in which nothing of the chunk could be decoded
    damaged: bool = False  # some frames could not be decoded, and the last good one is repeated

    @property
    def size_bytes(self) -> int:
        """Total size of the media segments."""
        return sum(segment.size for track in self.tracks for segment in track.segments)
