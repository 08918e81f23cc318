"""Reads the journals of a broadcast from the store: session by session, line by line."""

from __future__ import annotations

from collections import deque

from streamwave.spool.remote.objects import PART_LINES, line_name, part_name
from streamwave.storage.store import Store
from streamwave.util.interval import Interval

#: While no line arrives, how often to check whether it is only available in a part.
PART_S = 2.0


class JournalLines:
    """The next line, from an object of its own or from a part, which holds ``PART_LINES`` lines.

    A run that starts late reads parts, because the single lines of old chunks have been deleted; once a part is missing it
    has caught up and reads single lines.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sessions = 0
        self._next = 0
        self._lines: deque[bytes] = deque()
        self._late = True
        self._part = Interval(PART_S)

    @property
    def session(self) -> str:
        """Name of the session whose lines are read."""
        return f"{self._sessions:06d}"

    @property
    def sessions(self) -> int:
        """How many sessions have been read to their end."""
        return self._sessions

    def peek(self, *, waiting: bool) -> bytes | None:
        """The next line, which stays the next one until ``advance``; None if it is not stored yet.

        ``waiting``: an earlier call returned None as well.

        Raises:
            OutputError: the store refuses.
        """
        if not self._lines:
            number, within = divmod(self._next, PART_LINES)
            if (waiting and self._part.due()) or (within == 0 and self._late):
                part = self._store.get(part_name(self.session, number))
                self._late = part is not None
                self._lines.extend((part or b"").splitlines()[within:])
        if not self._lines and (line := self._store.get(line_name(self.session, self._next))) is not None:
            self._lines.append(line)
        return self._lines[0] if self._lines else None

    def advance(self) -> None:
        """Go on to the line after the one that ``peek`` returned."""
        self._lines.popleft()
        self._next += 1

    def next_session(self) -> None:
        """Go on to the first line of the next session."""
        self._sessions, self._next = self._sessions + 1, 0
        self._lines.clear()
