"""What crosses a boundary between processes: sources, renditions, chunks and their records. All frozen, all JSON."""

from __future__ import annotations

from enum import StrEnum
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from streamwave.timing import AAC_FRAME, Grid
from streamwave.untrusted import to_fraction

#: A fraction that travels as the string "30000/1001".
Rational = Annotated[
    Fraction,
    BeforeValidator(to_fraction),
    PlainSerializer(str, return_type=str),
]


#: Bytes that travel as hexadecimal digits.
Binary = Annotated[
    bytes,
    BeforeValidator(lambda value: bytes.fromhex(value) if isinstance(value, str) else value),
    PlainSerializer(bytes.hex, return_type=str),
]


class Frozen(BaseModel):
    """Immutable value with a strict set of fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class State(StrEnum):
    """How far a broadcast is. The values are those of lists; its status in the spool and its entry at an output have words
    of their own for one that is over.
    """

    STARTING = "starting"  # nothing is published yet
    LIVE = "live"
    WAITING = "waiting"  # its publisher is away, and may come back
    FINISHING = "finishing"  # the last chunks are on their way
    RECORDED = "recorded"  # over, and all of it is published
    FAILED = "failed"  # its run ended with an error; another one may go on
    CUT_OFF = "cut off"  # over, and not complete
    DELETED = "deleted"  # its deletion has begun
    DAMAGED = "damaged"  # its ledger cannot be read

    @property
    def in_status(self) -> str:
        """The word for it in the status of a broadcast in the spool."""
        return "finished" if self is State.RECORDED else self.value

    @property
    def in_entry(self) -> str:
        """The word for it in the entry of a broadcast at an output."""
        return "ended" if self is State.RECORDED else self.value

    @classmethod
    def of_status(cls, word: object) -> State | None:
        """The state that a status means by ``word``; None for what this version does not know."""
        return next((state for state in cls if state.in_status == word), None)

    @classmethod
    def of_entry(cls, word: object) -> State | None:
        """The state that an entry means by ``word``; None for what this version does not know."""
        return next((state for state in cls if state.in_entry == word), None)


class Colour(Frozen):
    """How a track's numbers become light, in FFmpeg's words; "unknown" where the source does not say.

    ITU-T H.273 has the meanings. Renditions carry the same words, but always the limited ("tv") range.
    """

    primaries: str = "unknown"
    transfer: str = "unknown"
    matrix: str = "unknown"
    full_range: bool = False


class VideoInfo(Frozen):
    """The video track of a source as the probe found it. Sizes in pixels, before rotation.

    ``peak_nits`` is the brightest pixel of HDR video in cd/m², where the source says it.
    """

    codec: str
    width: int
    height: int
    sample_aspect: Rational = Fraction(1)
    mirrored: bool = False  # players must exchange left and right, before they turn the picture
    rotation: int = 0  # degrees clockwise that the player must turn the picture: 0, 90, 180, 270, or another number
    stated_rate: Rational | None = None
    pixel_format: str = ""
    interlaced: bool = False
    colour: Colour = Colour()
    peak_nits: int | None = None
    bit_rate_bps: int | None = None


class AudioInfo(Frozen):
    """The audio track of a source as the probe found it."""

    codec: str
    sample_rate: int
    channels: int


class SourceInfo(Frozen):
    """A source as the probe found it; ``duration_ms`` is None for one that does not say when it ends.

    ``audio`` is the track ``audio_number`` of ``audio_tracks``, counted from 1; ``undecodable`` are those that no decoder
    here knows, ``encrypted`` those that are encrypted. ``video`` is the track ``video_number`` of ``video_tracks``, as well.
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
    """One rung of the ladder. Sizes in pixels (0 for audio), rates in bits per second."""

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
    """That the source's own pictures are the rendition called ``rendition``, in all chunks of a session that allow it.

    ``init`` is its init segment as FFmpeg writes it, but with the source's parameter sets beside those of the encoder, which
    have the number ``encoder_id``: so both the source's pictures and encoded ones follow from it.
    """

    rendition: str
    encoder_id: int
    init: Binary


#: Containers of chunk files by their suffix, in the order in which they are tried.
CONTAINERS = {"mkv": "matroska", "nut": "nut", "mov": "mov"}


#: The name of a chunk's file in its session's folder: nothing that leads out of it, wherever a journal comes from.
ChunkFile = Annotated[str, Field(pattern=r"^[0-9]{6,}\.(mkv|nut|mov|aac)$")]


class ChunkRecord(Frozen):
    """What the journal says of a received chunk. Times in integer milliseconds since the session's origin.

    The pictures lie in the half-open range [start_ms, next_ms); ``next_ms`` is the ``start_ms`` of the next chunk, or
    where the last picture ends. Times in the video file are later by ``later_ms``. ``held``: it shows the last picture up to
    its start all along, as the chunk of that number does first. ``audio_first`` counts AAC frames since the origin.
    ``lead`` is how many pictures of the file are not the chunk's own, but are needed to decode those.
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
    closed_unix_ms: int = 0  # wall clock when the last frame had arrived


class Chunk(Frozen):
    """A chunk in its place: ``[first_frame, first_frame + frame_count)`` on the grid, AAC frames likewise.

    ``segments`` are the lengths in frames of the segments that it is published as (see ``timing.split_evenly``). Times in
    the video file, which has ``pictures`` of them, are later than those of the session by ``later_ms``. ``held``: one picture
    stands still, as in the chunk of that number (see ``ChunkRecord``). ``as_is``: the source's own pictures can be a
    rendition (see ``Passthrough``); segments then begin at keyframes of the source.
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

    def boundaries(self, rendition: Rendition) -> tuple[tuple[int, int], ...]:
        """(time, duration) in the rendition's ticks of every segment of this chunk.

        Video boundaries are the same in all renditions; an audio boundary is the AAC frame nearest to the picture.
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
