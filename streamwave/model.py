"""Values that cross process boundaries: sources, renditions, chunks and their records. Immutable; serialised as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from streamwave.timing import AAC_FRAME, Grid
from streamwave.untrusted import to_fraction

#: A fraction, serialised as a string such as "30000/1001".
Rational = Annotated[
    Fraction,
    BeforeValidator(to_fraction),
    PlainSerializer(str, return_type=str),
]


#: Bytes, serialised as hexadecimal digits.
Binary = Annotated[
    bytes,
    BeforeValidator(lambda value: bytes.fromhex(value) if isinstance(value, str) else value),
    PlainSerializer(bytes.hex, return_type=str),
]


class Frozen(BaseModel):
    """An immutable model that rejects unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


@dataclass(frozen=True)
class StreamLimits:
    """What one stream may use; 0 means no limit.

    ``spool_bytes`` limits the spool of all streams together, and a stream may fill ``share_percent`` of what the others leave
    free; ``chunk_bytes`` limits a chunk of a live source, ``sessions_per_minute`` how often a session may begin.
    """

    spool_bytes: int = 0
    share_percent: int = 50
    chunk_bytes: int = 0
    sessions_per_minute: int = 0


class State(StrEnum):
    """The state of a broadcast. Lists show these values; the status in the spool and the entry at an output name the state
    RECORDED differently (see ``in_status`` and ``in_entry``).
    """

    STARTING = "starting"  # nothing has been published yet
    LIVE = "live"
    WAITING = "waiting"  # its publisher is disconnected, and may reconnect
    FINISHING = "finishing"  # the publisher has left; the last chunks are being published
    RECORDED = "recorded"  # ended, and completely published
    FAILED = "failed"  # its run ended with an error; a new run may resume it
    CUT_OFF = "cut off"  # ended, but incomplete
    DELETED = "deleted"  # being deleted
    DAMAGED = "damaged"  # its ledger cannot be read

    @property
    def in_status(self) -> str:
        """The name of this state in a broadcast's status in the spool."""
        return "finished" if self is State.RECORDED else self.value

    @property
    def in_entry(self) -> str:
        """The name of this state in a broadcast's entry at an output."""
        return "ended" if self is State.RECORDED else self.value

    @classmethod
    def of_status(cls, word: object) -> State | None:
        """The state that a status calls ``word``; None if this version does not know the word."""
        return next((state for state in cls if state.in_status == word), None)

    @classmethod
    def of_entry(cls, word: object) -> State | None:
        """The state that an entry calls ``word``; None if this version does not know the word."""
        return next((state for state in cls if state.in_entry == word), None)


class Colour(Frozen):
    """The colour space of a track, in FFmpeg's terms; "unknown" where the source does not say.

    ITU-T H.273 defines the meanings. Renditions use the same terms, but always limited ("tv") range.
    """

    primaries: str = "unknown"
    transfer: str = "unknown"
    matrix: str = "unknown"
    full_range: bool = False


class VideoInfo(Frozen):
    """The video track of a source, as probed.

    Attributes:
        codec: FFmpeg's name of the codec, such as "h264".
        width: Width in pixels, before rotation.
        height: Height in pixels, before rotation.
        sample_aspect: Pixel aspect ratio; 1 for square pixels.
        mirrored: Whether players must swap left and right, before they rotate the frame.
        rotation: Clockwise rotation that players must apply, in degrees: 0, 90, 180, 270, or any other number.
        stated_rate: Frame rate in frames per second, if the source states it.
        pixel_format: FFmpeg's name of the pixel format, such as "yuv420p"; empty if unknown.
        interlaced: Whether frames consist of two fields.
        colour: Colour space, in FFmpeg's terms: ``primaries``, ``transfer`` and ``matrix`` ("unknown" if the source does not
            say), and ``full_range``.
        peak_nits: Peak luminance of HDR video in cd/m², if the source states it.
        bit_rate_bps: Bit rate in bits per second, if the source states it.
    """

    codec: str
    width: int
    height: int
    sample_aspect: Rational = Fraction(1)
    mirrored: bool = False
    rotation: int = 0
    stated_rate: Rational | None = None
    pixel_format: str = ""
    interlaced: bool = False
    colour: Colour = Colour()
    peak_nits: int | None = None
    bit_rate_bps: int | None = None


class AudioInfo(Frozen):
    """The audio track of a source, as probed.

    Attributes:
        codec: FFmpeg's name of the codec, such as "aac".
        sample_rate: Samples per second and channel.
        channels: Number of channels.
    """

    codec: str
    sample_rate: int
    channels: int


class SourceInfo(Frozen):
    """A source, as probed. Track numbers are counted from 1.

    Attributes:
        url: The URL that is opened; a file has a ``file:`` URL.
        container: FFmpeg's name of the container format.
        duration_ms: Length in milliseconds; None if the source does not state it.
        video: The selected video track, or None.
        audio: The selected audio track, or None.
        audio_tracks: Number of audio tracks.
        audio_number: Number of the selected audio track.
        undecodable: Numbers of the audio tracks that FFmpeg cannot decode here.
        encrypted: Numbers of the audio tracks that are encrypted.
        video_tracks: Number of video tracks.
        video_number: Number of the selected video track.
    """

    url: str
    container: str
    duration_ms: int | None = None
    video: VideoInfo | None = None
    audio: AudioInfo | None = None
    audio_tracks: int = 0
    audio_number: int = 1
    undecodable: tuple[int, ...] = ()
    encrypted: tuple[int, ...] = ()
    video_tracks: int = 0
    video_number: int = 1


class Rendition(Frozen):
    """One rung of the ladder.

    Attributes:
        name: Name in manifests and object names, such as "720p".
        kind: "video" or "audio".
        width: Width in pixels; 0 for audio.
        height: Height in pixels; 0 for audio.
        max_bps: Maximum bit rate, in bits per second.
        sample_rate: Samples per second and channel; only for audio.
        channels: Number of channels; only for audio.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")
    kind: Literal["video", "audio"]
    width: int = 0
    height: int = 0
    max_bps: int
    sample_rate: int = 48000
    channels: int = 2

    def timescale(self, grid: Grid | None) -> int:
        """Ticks per second of this rendition's media time: the grid's for video, the sample rate for audio."""
        if self.kind == "audio":
            return self.sample_rate
        assert grid is not None
        return grid.timescale


class Passthrough(Frozen):
    """States that the source's own video is published as ``rendition``, in every chunk of a session where that is possible.

    ``init`` is the init segment that FFmpeg writes, with the source's parameter sets added to the encoder's, which are numbered
    ``encoder_id``. So one init segment serves both the source's frames and encoded ones.
    """

    rendition: str
    encoder_id: int
    init: Binary


#: Containers of chunk files by file extension, in the order in which they are tried.
CONTAINERS = {"mkv": "matroska", "nut": "nut", "mov": "mov"}


#: The name of a chunk file in its session's folder. Journals are not trusted: the pattern excludes paths out of the folder.
ChunkFile = Annotated[str, Field(pattern=r"^[0-9]{6,}\.(mkv|nut|mov|aac)$")]


class ChunkRecord(Frozen):
    """What the journal records about a received chunk. Times are integer milliseconds since the session's origin.

    The chunk covers the half-open range [start_ms, next_ms); ``next_ms`` is the ``start_ms`` of the next chunk, or the end of
    the last frame. Timestamps in the video file are ``later_ms`` later than those. If ``held`` is set, the chunk
    repeats the last
    frame before its start throughout, and ``held`` is the number of the first chunk that does so. ``audio_first`` counts AAC
    frames since the origin. ``lead`` is the number of frames in the file that precede the chunk's own, and are needed to decode
    them.
    """

    number: int
    video_file: ChunkFile | None
    start_ms: int
    next_ms: int
    later_ms: int = 0
    held: int | None = None
    pictures: int
    lead: int = 0
    audio_file: ChunkFile | None = None
    audio_first: int = 0
    audio_count: int = 0
    size_bytes: int = 0
    closed_unix_ms: int = 0  # wall-clock time at which the last frame arrived


class Chunk(Frozen):
    """A chunk with its place on the timeline: ``[first_frame, first_frame + frame_count)`` on the grid, AAC frames likewise.

    ``segments`` has the length in frames of each segment that the chunk is published as (see ``timing.split_evenly``). The
    video file contains ``pictures`` frames, whose timestamps are ``later_ms`` later than the session's. ``held``: the chunk
    repeats one frame (see ``ChunkRecord``). ``as_is``: the source's own video can be a rendition (see ``Passthrough``), so
    segments begin at keyframes of the source.
    """

    number: int
    rate: Rational
    first_frame: int
    frame_count: int
    segments: tuple[int, ...]
    as_is: bool = False
    video_path: str | None
    pictures: int = 0
    later_ms: int = 0
    held: int | None = None
    audio_path: str | None
    audio_first: int = 0
    audio_count: int = 0
    closed_unix_ms: int = 0

    @property
    def grid(self) -> Grid:
        """The frame grid that the chunk lies on."""
        return Grid(self.rate)

    @property
    def duration_s(self) -> Fraction:
        """Its length in seconds."""
        return self.frame_count / self.rate

    def boundaries(self, rendition: Rendition) -> tuple[tuple[int, int], ...]:
        """(time, duration) of every segment of this chunk, in the rendition's ticks.

        Video boundaries are the same in all renditions; an audio boundary is the start of the AAC frame nearest to the video's.
        """
        edges = [self.first_frame]
        for length in self.segments:
            edges.append(edges[-1] + length)
        if rendition.kind == "video":
            ticks = [self.grid.ticks(edge) for edge in edges]
        else:
            inner = [self.grid.aac_frame_at(edge, rendition.sample_rate) for edge in edges[1:-1]]
            last = self.audio_first + self.audio_count
            frames = [self.audio_first, *(min(max(frame, self.audio_first), last) for frame in inner), last]
            ticks = [frame * AAC_FRAME for frame in frames]
        return tuple((a, b - a) for a, b in zip(ticks, ticks[1:], strict=False) if b > a)
