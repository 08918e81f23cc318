"""The ledger: the durable record of what a broadcast has published, and the timeline that is reconstructed from it.

It consists of parts with JSON lines, at most ``PART_CHUNKS`` chunks each, so that appending rewrites an object of bounded size
even on stores that cannot append. Line types: ``broadcast`` (first), ``state`` (see ``rolling``), ``info``, ``period``,
``chunk``, ``end``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Annotated, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError

from streamwave.errors import DamagedError, MediaError, OutputError
from streamwave.layout import init_name, ledger_name, segment_name
from streamwave.manifest.packaged import PackagedChunk, PackagedTrack
from streamwave.manifest.rolling import StateLine, restore, snapshot
from streamwave.manifest.timeline import Period, SegmentRef, Timeline, Track
from streamwave.model import Frozen, Rational, Rendition
from streamwave.storage.store import Store

PART_CHUNKS = 256
#: Chunks with filler whose numbers are remembered; further ones are only counted.
NAMED_CHUNKS = 100


class BroadcastLine(Frozen):
    """First line. ``fingerprint`` tells whether a rerun does the same job."""

    type: Literal["broadcast"] = "broadcast"
    created_unix_ms: int
    segment_ms: int = Field(gt=0)
    fingerprint: str
    dvr_window_ms: int | None = None
    keep: bool = True  # False: what has left the DVR window is deleted, and no longer recorded
    info: dict[str, str] = Field(default_factory=dict)


class InfoLine(Frozen):
    """Replaces the broadcast's metadata, which publishers may send at any time and repeatedly."""

    type: Literal["info"] = "info"
    info: dict[str, str]


class TrackLine(Frozen):
    """A rendition of a period."""

    rendition: Rendition
    timescale: int = Field(gt=0)
    codecs: str
    init_sha256: str
    init_size: int
    frame_rate: Rational | None

    @classmethod
    def of(cls, track: PackagedTrack) -> Self:
        """The line that describes ``track``."""
        return cls(
            rendition=track.rendition, timescale=track.timescale, codecs=track.codecs,
            init_sha256=track.init_sha256, init_size=track.init_size, frame_rate=track.frame_rate,
        )  # fmt: skip


class PeriodLine(Frozen):
    """Start of a period, which contains the chunks of ``session`` from ``first_chunk`` on."""

    type: Literal["period"] = "period"
    name: str
    session: str
    first_chunk: int
    start: Rational
    wall_unix_ms: int | None
    tracks: tuple[TrackLine, ...]


class ChunkLine(Frozen):
    """A published chunk: the segments of each rendition as (time, duration, size), in ticks and bytes.

    ``digests`` are those of the segments (see ``util.digest``); earlier versions did not record them.
    """

    type: Literal["chunk"] = "chunk"
    number: int
    segments: dict[str, tuple[tuple[int, int, int], ...]]
    filled: tuple[str, ...] = ()  # renditions with black frames or silence, because the chunk could not be used
    damaged: bool = False  # some frames could not be decoded, and the last good one is repeated
    digests: dict[str, tuple[str, ...]] = Field(default_factory=dict, exclude_if=lambda digests: not digests)
    captions: bool = Field(default=False, exclude_if=lambda captions: not captions)

    @classmethod
    def of(cls, chunk: PackagedChunk) -> Self:
        """The line that describes ``chunk``."""
        digests = {t.rendition.name: tuple(s.digest for s in t.segments) for t in chunk.tracks}
        return cls(
            number=chunk.number,
            segments={t.rendition.name: tuple((s.time, s.duration, s.size) for s in t.segments) for t in chunk.tracks},
            filled=chunk.filled,
            damaged=chunk.damaged,
            captions=any(track.captions for track in chunk.tracks),
            digests={name: found for name, found in digests.items() if all(found)},
        )


class EndLine(Frozen):
    """Marks the broadcast as complete."""

    type: Literal["end"] = "end"


AnyLine = BroadcastLine | StateLine | InfoLine | PeriodLine | ChunkLine | EndLine
Line = Annotated[AnyLine, Field(discriminator="type")]
_line: TypeAdapter[AnyLine] = TypeAdapter(Line)


def read_lines(store: Store) -> Iterator[tuple[int, str, AnyLine]]:
    """Every line of the ledger at ``store`` as (part, text, line); nothing if there is no ledger.

    Raises:
        OutputError: the store cannot be read, or the ledger is damaged.
    """
    part = 0
    while (data := store.get(ledger_name(part))) is not None:
        following = part + 1
        for text in data.decode("utf-8", "replace").splitlines():
            try:
                line = _line.validate_json(text)
            except ValidationError:
                raise _damaged(store) from None
            yield part, text, line
            if isinstance(line, StateLine):
                if line.part <= part:  # would loop forever
                    raise _damaged(store)
                following = line.part
        part = following


class Ledger:
    """The ledger of one broadcast at its store, and the state derived from it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.header: BroadcastLine | None = None
        self.periods: list[PeriodLine] = []
        self.timeline: Timeline | None = None
        self.window: Timeline | None = None  # the part of the timeline inside the DVR window, if there is one
        self.watched: Timeline | None = None  # after the end, the timeline as clients know it that watched it live
        self.chunk_count = 0  # over all periods
        self.black_chunks = 0  # chunks with black frames in at least one rendition
        self.silent_chunks = 0
        self.damaged_chunks = 0  # chunks that repeat a frame because others could not be decoded
        self.filled_numbers: list[int] = []  # numbers of the first black or silent chunks
        self.next_chunk = 0  # of the last period's session
        #: Objects that nothing refers to any more and that are still to be deleted, oldest first (only without ``keep``).
        self.left: dict[str, None] = {}
        self._part = 0
        self._first_part = 1  # the first valid part after part 0
        self._lines: list[str] = []
        self._chunks_in_part = 0

    @classmethod
    def load(cls, store: Store, *, without_end: bool = False) -> Ledger:
        """Read the ledger; an empty one if there is none. ``without_end``: as it was before the broadcast ended.

        Raises:
            OutputError: the store cannot be read, or the ledger is damaged.
        """
        ledger = cls(store)
        try:
            for part, text, line in read_lines(store):
                if part != ledger._part:
                    ledger._part, ledger._lines, ledger._chunks_in_part = part, [], 0
                if without_end and isinstance(line, EndLine):
                    break
                ledger._apply(line)
                ledger._lines.append(text)
        except (ValueError, LookupError, ArithmeticError, MediaError):  # lines that contradict each other
            raise _damaged(store) from None
        return ledger

    def append(self, *lines: AnyLine, save: bool = True) -> None:
        """Apply ``lines`` to the state and, with ``save``, write them durably."""
        for line in lines:
            if self._chunks_in_part >= PART_CHUNKS and isinstance(line, ChunkLine):
                self.save()
                self._part, self._lines, self._chunks_in_part = self._part + 1, [], 0
                if self.header is not None and not self.header.keep:
                    self._forget()
            self._apply(line)
            self._lines.append(line.model_dump_json())
        if save:
            self.save()

    def lines_after(self, other: Ledger) -> list[AnyLine]:
        """The lines that follow in ``other``'s ledger after those in this one, up to the end of a part.

        Raises:
            OutputError: the two ledgers are of different broadcasts, or the other one cannot be read.
        """
        for part, known in ((self._part, self._lines), (self._part + 1, [])):
            data = other.store.get(ledger_name(part))
            if data is None:
                continue
            texts = data.decode("utf-8", "replace").splitlines()
            # The texts of the first lines may differ if their content does not, which the caller has checked.
            skip = 1 if part == 0 else 0
            if not _same(texts[skip : len(known)], known[skip : len(texts)], other.store):
                raise OutputError(f"{self.store.url} and {other.store.url} hold different broadcasts; remove one")
            if len(texts) > len(known):
                return [_parsed(text, other.store) for text in texts[len(known) :]]
        return []

    @property
    def part_names(self) -> list[str]:
        """Names of the ledger's objects."""
        return [ledger_name(part) for part in range(self._part + 1)]

    def moved_to(self, before: Ledger, gone: Iterable[str]) -> Ledger:
        """Prepare this ledger to replace ``before`` at its store, without saving it (only without ``keep``).

        ``gone`` are the objects there that this ledger does not refer to.
        """
        parts = (ledger_name(part) for part in range(before._first_part, before._part + 1) if part)
        self.left = dict.fromkeys((*before.left, *gone, *parts))
        self.store = before.store
        # A part number that neither ledger has used.
        self._part = max(self._part, before._part) + 1
        self._first_part, self._lines, self._chunks_in_part = self._part, [], 0
        return self

    def restart(self) -> None:
        """Save a ledger after ``moved_to``: its first object records the entire state."""
        self._forget()

    def _forget(self) -> None:
        """Replace all parts before the current one by a summary of what is still relevant."""
        assert self.header is not None and self.timeline is not None
        superfluous = dict.fromkeys(ledger_name(part) for part in range(self._first_part, self._part))
        state = StateLine(
            part=self._part,
            # Sessions without remaining segments are listed without their tracks.
            lines=tuple(self._brief(line).model_dump(mode="json") for line in self.periods),
            next_chunk=self.next_chunk,
            chunks=self.chunk_count,
            black_chunks=self.black_chunks,
            silent_chunks=self.silent_chunks,
            damaged_chunks=self.damaged_chunks,
            filled_numbers=tuple(self.filled_numbers),
            left=(*self.left, *superfluous),
            **snapshot(self.timeline),
        )
        lines = (self.header.model_dump_json(), state.model_dump_json())
        self.store.put(ledger_name(0), "".join(f"{line}\n" for line in lines).encode())
        self.left |= superfluous
        self._first_part = self._part

    def _brief(self, line: PeriodLine) -> PeriodLine:
        assert self.timeline is not None
        return line if line is self.periods[-1] else line.model_copy(update={"tracks": ()})

    def save(self) -> None:
        """Write the current part."""
        self.store.put(ledger_name(self._part), "".join(f"{line}\n" for line in self._lines).encode())

    @property
    def shown(self) -> Timeline | None:
        """The timeline that manifests show: the DVR window while live, if there is one; otherwise everything."""
        if self.window is not None and self.timeline is not None and not self.timeline.ended:
            return self.window
        return self.timeline

    def _both(self) -> list[Timeline]:
        return [timeline for timeline in (self.timeline, self.window) if timeline is not None]

    def _apply(self, line: AnyLine) -> None:
        if isinstance(line, BroadcastLine):
            self.header = line
            self.timeline = _begin(line, None if line.keep else line.dvr_window_ms)
            self.window = _begin(line, line.dvr_window_ms) if line.dvr_window_ms and line.keep else None
            return
        if self.timeline is None:
            raise DamagedError(f"the ledger of {self.store.url} has no beginning; remove the broadcast")
        if isinstance(line, StateLine):
            restore(self.timeline, line)
            self.periods = [PeriodLine.model_validate(period) for period in line.lines]
            self.next_chunk, self.left, self._first_part = line.next_chunk, dict.fromkeys(line.left), line.part
            self.chunk_count = line.chunks
            self.black_chunks, self.silent_chunks = line.black_chunks, line.silent_chunks
            self.damaged_chunks, self.filled_numbers = line.damaged_chunks, list(line.filled_numbers)
        elif isinstance(line, InfoLine):
            for timeline in self._both():
                timeline.info = dict(line.info)
        elif isinstance(line, PeriodLine):
            self.periods.append(line)
            self.next_chunk = line.first_chunk
            for timeline in self._both():
                tracks = {
                    t.rendition.name: Track(t.rendition, t.timescale, t.codecs, t.init_size, t.frame_rate)
                    for t in line.tracks
                }
                timeline.periods.append(Period(line.name, Fraction(line.start), tracks, line.wall_unix_ms))
        elif isinstance(line, ChunkLine):
            for timeline in self._both():
                period = timeline.periods[-1]
                first = not period.longest_chunk
                for name, segments in line.segments.items():
                    for segment in segments:
                        period.tracks[name].append(SegmentRef(*segment))
                    length = Fraction(sum(duration for _, duration, _ in segments), period.tracks[name].timescale)
                    period.longest_chunk = max(period.longest_chunk, length)
                period.captions |= line.captions
                period.captions_at_start |= line.captions and first
                gone = timeline.trim()
                if timeline is self.timeline:
                    self._leave(gone)
            self.next_chunk = line.number + 1
            self.chunk_count += 1
            self._count_filled(line)
            self._chunks_in_part += 1
        else:
            for timeline in self._both():
                timeline.ended = True
            if self.timeline.live_born:
                self.watched = self.timeline.as_watched()
            for recorded, start in zip(self.timeline.periods, self.timeline.recorded_starts(), strict=True):
                recorded.start = start

    def _count_filled(self, line: ChunkLine) -> None:
        assert self.timeline is not None
        tracks = self.timeline.periods[-1].tracks
        kinds = {tracks[name].rendition.kind for name in line.filled}
        self.black_chunks += "video" in kinds
        self.silent_chunks += "audio" in kinds
        self.damaged_chunks += line.damaged
        if kinds and len(self.filled_numbers) < NAMED_CHUNKS:
            self.filled_numbers.append(line.number)

    def _leave(self, gone: list[tuple[str, str, SegmentRef]]) -> None:
        """Note that nothing refers to these segments any more, nor to the init segments of removed periods."""
        assert self.timeline is not None
        listed = {period.name for period in self.timeline.periods}
        for period, rendition, segment in gone:
            self.left[segment_name(period, rendition, segment.time)] = None
        for period, rendition, _ in gone:
            if period not in listed:
                self.left[init_name(period, rendition)] = None


def _same(theirs: list[str], mine: list[str], store: Store) -> bool:
    """Whether lines of two ledgers agree, ignoring how versions differ in writing them, and the encoded sizes of segments."""

    def essence(text: str) -> AnyLine:
        line = _parsed(text, store)
        if not isinstance(line, ChunkLine):
            return line
        places = {name: tuple((at, length, 0) for at, length, _ in found) for name, found in line.segments.items()}
        return ChunkLine(number=line.number, segments=places)

    return theirs == mine or [essence(text) for text in theirs] == [essence(text) for text in mine]


def _parsed(text: str, store: Store) -> AnyLine:
    try:
        return _line.validate_json(text)
    except ValidationError:
        raise _damaged(store) from None


def _damaged(store: Store) -> DamagedError:
    return DamagedError(
        f"the ledger of {store.url} is damaged; if another output has the recording, remove only its folder ledger there "
        "and run streamwave broadcasts catch-up, else remove the broadcast"
    )


def _begin(line: BroadcastLine, dvr_window_ms: int | None) -> Timeline:
    return Timeline(
        created_unix_ms=line.created_unix_ms,
        segment_ms=line.segment_ms,
        dvr_window_ms=dvr_window_ms,
        info=dict(line.info),
    )
