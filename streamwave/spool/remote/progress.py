"""Which chunks of a replica the run has published, and which objects in the store it therefore no longer needs."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from streamwave.spool.consumed import Notes, expect_notes
from streamwave.storage.store import Store

#: Objects that are deleted at the same time.
PARALLEL = 4


class Progress:
    """``done``: of each session, the number of the first chunk that the run may still need. Thread-safe.

    One thread adds chunks as it fetches them; another one calls ``note`` and ``forget``.
    """

    def __init__(self, store: Store, done: Mapping[str, int]) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._done = dict(done)
        self._beyond: dict[str, set[int]] = {}  # published chunks that follow one which is not
        self._here: dict[tuple[str, int], list[str]] = {}  # chunks in the replica, and the names of their objects
        self._notes: dict[str, Notes] = {}
        self._undeleted: set[str] = set()

    @property
    def done(self) -> dict[str, int]:
        """Of each session, the number of the first chunk that the run may still need."""
        with self._lock:
            return dict(self._done)

    @property
    def held(self) -> int:
        """How many chunks of the replica are not published yet."""
        with self._lock:
            return len(self._here)

    def begin(self, session: Path) -> None:
        """Follow the chunks of a session of the replica, whose folder exists."""
        expect_notes(session)
        with self._lock:
            self._notes[session.name] = Notes(session)

    def needs(self, session: str, number: int) -> bool:
        """Whether the run may still need a chunk."""
        with self._lock:
            return number >= self._done.get(session, 0)

    def fetched(self, session: str, number: int, files: Iterable[str]) -> None:
        """Add a chunk that is in the replica now, with the names of its files in the session."""
        with self._lock:
            self._here[session, number] = [f"{session}/{name}" for name in files]

    def note(self) -> None:
        """Read which chunks the run has published since the last call."""
        with self._lock:
            for session, notes in self._notes.items():
                for number in notes.read():
                    self._undeleted.update(self._here.pop((session, number), []))
                    beyond = self._beyond.setdefault(session, set())
                    beyond.add(number)
                    first = self._done.get(session, 0)
                    if number < first:
                        beyond.discard(number)
                    while first in beyond:
                        beyond.remove(first)
                        first += 1
                    self._done[session] = first

    def forget(self) -> None:
        """Delete the objects of published chunks.

        Raises:
            OutputError: the store refused; the next call deletes the rest.
        """
        self.note()
        with self._lock:
            names = sorted(self._undeleted)
        if not names:
            return
        with ThreadPoolExecutor(PARALLEL, thread_name_prefix="forget") as pool:
            for name, _ in zip(names, pool.map(self._store.delete, names), strict=True):
                with self._lock:
                    self._undeleted.discard(name)
