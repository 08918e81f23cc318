"""Which chunks in a replica the run still needs, and which objects in the store can be deleted."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

from streamwave.spool.consumed import Notes, expect_notes


class NeededChunks:
    """The chunks that a run needs. Thread-safe.

    ``done`` is, for each session, the number of the first chunk that the run may still need.
    """

    def __init__(self, done: Mapping[str, int]) -> None:
        self._lock = threading.Lock()
        self._done = dict(done)
        self._beyond: dict[str, set[int]] = {}  # chunks that are not needed, though one before them is
        self._here: dict[tuple[str, int], list[str]] = {}  # chunks in the replica, with the names of their objects
        self._notes: dict[str, Notes] = {}
        self._deletable: set[str] = set()

    @property
    def done(self) -> dict[str, int]:
        """For each session, the number of the first chunk that may still be needed."""
        with self._lock:
            return dict(self._done)

    @property
    def here(self) -> int:
        """How many chunks are in the replica."""
        return len(self._here)

    @property
    def deletable(self) -> list[str]:
        """Names of the objects in the store that no run needs any more."""
        with self._lock:
            return sorted(self._deletable)

    def watch(self, session: Path) -> None:
        """Learn from now on which chunks of ``session``, a folder of the replica, the run does not need any more."""
        expect_notes(session)
        with self._lock:
            self._notes[session.name] = Notes(session)

    def needs(self, session: str, number: int) -> bool:
        """Whether the run may need chunk ``number`` of ``session``."""
        return number >= self._done.get(session, 0)

    def add(self, session: str, number: int, names: Iterable[str]) -> None:
        """A chunk is in the replica now; ``names`` are its objects in the store."""
        with self._lock:
            self._here[session, number] = list(names)

    def deleted(self, name: str) -> None:
        """An object that was deletable is deleted."""
        self._deletable.discard(name)

    def note(self) -> None:
        """Read which chunks the run does not need any more."""
        with self._lock:
            for session, notes in self._notes.items():
                for number in notes.read():
                    self._deletable.update(self._here.pop((session, number), []))
                    self._done[session] = self._first_after(session, number)

    def _first_after(self, session: str, number: int) -> int:
        """The first chunk of ``session`` that may be needed, now that chunk ``number`` is not."""
        first, beyond = self._done.get(session, 0), self._beyond.setdefault(session, set())
        if number >= first:
            beyond.add(number)
        while first in beyond:
            beyond.remove(first)
            first += 1
        return first
