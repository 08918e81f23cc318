"""The ledger: the durable record of what a broadcast has published, and the state that follows from its lines."""

from __future__ import annotations

from collections.abc import Iterable

from streamwave.errors import DamagedError, MediaError
from streamwave.manifest import replay
from streamwave.manifest.lines import (
    AnyLine,
    BroadcastLine,
    ChunkLine,
    EndLine,
    InfoLine,
    PeriodLine,
    damaged,
    read_lines,
)
from streamwave.manifest.losses import Losses
from streamwave.manifest.parts import LedgerParts
from streamwave.manifest.rolling import StateLine, restore, snapshot
from streamwave.manifest.timeline import Timeline
from streamwave.storage.store import Store


class Ledger:
    """The ledger of one broadcast. ``parts`` are its lines as stored; all other attributes follow from the lines."""

    def __init__(self, store: Store) -> None:
        self.parts = LedgerParts(store)
        self.header: BroadcastLine | None = None
        self.periods: list[PeriodLine] = []
        self.timeline: Timeline | None = None
        self.window: Timeline | None = None  # what the DVR window leaves of a recorded timeline, if there is a window
        self.watched: Timeline | None = None  # the ended timeline, for clients that watched it live
        self.chunk_count = 0  # over all periods
        self.losses = Losses()
        self.next_chunk = 0  # in the session of the last period
        #: Objects that no manifest names any more and that are still to be deleted, oldest first (only without ``keep``).
        self.left: dict[str, None] = {}

    @classmethod
    def load(cls, store: Store, *, without_end: bool = False) -> Ledger:
        """Read the ledger at ``store``; an empty one if there is none. ``without_end``: as it was before the broadcast ended.

        Raises:
            OutputError: the ledger is damaged.
        """
        ledger = cls(store)
        try:
            for part, text, line in read_lines(store):
                if part != ledger.parts.current:
                    ledger.parts.begin(part)
                if without_end and isinstance(line, EndLine):
                    break
                ledger._apply(line)
                ledger.parts.add(text, line)
        except (ValueError, LookupError, ArithmeticError, MediaError):  # lines that contradict each other
            raise damaged(store) from None
        return ledger

    def append(self, *lines: AnyLine, save: bool = True) -> None:
        """Apply ``lines`` to the state and, with ``save``, write them durably."""
        for line in lines:
            if self.parts.is_full and isinstance(line, ChunkLine):
                self.save()
                self.parts.begin(self.parts.current + 1)
                if self.header is not None and not self.header.keep:
                    self._forget()
            self._apply(line)
            self.parts.add(line.model_dump_json(), line)
        if save:
            self.save()

    def save(self) -> None:
        """Write the lines that were appended without being saved."""
        self.parts.save()

    def moved_to(self, before: Ledger, gone: Iterable[str]) -> Ledger:
        """This ledger, not saved yet, for the store of ``before``, which it replaces there (only without ``keep``).

        ``gone`` are the objects there that this ledger does not name.
        """
        replaced = self.parts.move_to(before.parts)
        self.left = dict.fromkeys((*before.left, *gone, *replaced))
        return self

    def restart(self) -> None:
        """Save a ledger that was moved, as a single object."""
        self._forget()

    def _forget(self) -> None:
        """Replace all parts before the current one by a line with the state that still counts."""
        assert self.header is not None and self.timeline is not None
        replaced = dict.fromkeys(self.parts.replaced)
        state = StateLine(
            part=self.parts.current,
            # Of sessions that have nothing left, only that they were there.
            lines=tuple(self._brief(line).model_dump(mode="json") for line in self.periods),
            next_chunk=self.next_chunk,
            chunks=self.chunk_count,
            black_chunks=self.losses.black_chunks,
            silent_chunks=self.losses.silent_chunks,
            damaged_chunks=self.losses.damaged_chunks,
            filled_numbers=tuple(self.losses.filled_numbers),
            left=(*self.left, *replaced),
            **snapshot(self.timeline),
        )
        self.parts.replace_earlier(self.header.model_dump_json(), state.model_dump_json())
        self.left |= replaced

    def _brief(self, line: PeriodLine) -> PeriodLine:
        return line if line is self.periods[-1] else line.model_copy(update={"tracks": ()})

    @property
    def shown(self) -> Timeline | None:
        """What manifests show: the DVR window while the broadcast is live and has one, else everything."""
        if self.window is not None and self.timeline is not None and not self.timeline.ended:
            return self.window
        return self.timeline

    def _both(self) -> list[Timeline]:
        return [timeline for timeline in (self.timeline, self.window) if timeline is not None]

    def _apply(self, line: AnyLine) -> None:
        if isinstance(line, BroadcastLine):
            self.header = line
            self.timeline = replay.begin(line, None if line.keep else line.dvr_window_ms)
            self.window = replay.begin(line, line.dvr_window_ms) if line.dvr_window_ms and line.keep else None
        elif self.timeline is None:
            raise DamagedError(f"the ledger of {self.parts.store.url} has no beginning; remove the broadcast")
        elif isinstance(line, StateLine):
            self._restore(self.timeline, line)
        elif isinstance(line, InfoLine):
            for timeline in self._both():
                timeline.info = dict(line.info)
        elif isinstance(line, PeriodLine):
            self.periods.append(line)
            self.next_chunk = line.first_chunk
            for timeline in self._both():
                replay.open_period(timeline, line)
        elif isinstance(line, ChunkLine):
            self.left |= dict.fromkeys(replay.add_chunk(self.timeline, line))
            if self.window is not None:
                replay.add_chunk(self.window, line)
            self.next_chunk = line.number + 1
            self.chunk_count += 1
            self.losses.count(line, self.timeline.periods[-1])
        else:
            for timeline in self._both():
                timeline.ended = True
            if self.timeline.live_born:
                self.watched = self.timeline.as_watched()
            replay.close_pauses(self.timeline)

    def _restore(self, timeline: Timeline, line: StateLine) -> None:
        restore(timeline, line)
        self.periods = [PeriodLine.model_validate(period) for period in line.lines]
        self.next_chunk, self.chunk_count = line.next_chunk, line.chunks
        self.losses = Losses(line.black_chunks, line.silent_chunks, line.damaged_chunks, list(line.filled_numbers))
        self.left, self.parts.first = dict.fromkeys(line.left), line.part
