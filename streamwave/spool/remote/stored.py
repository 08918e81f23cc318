"""The journals of a broadcast as they lie in the store: line by line, or a hundred lines in one part."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from streamwave.spool.remote.objects import PART_LINES, line_name, part_name
from streamwave.storage.store import Store
from streamwave.util.interval import Interval

#: While no line comes, how often the part that would hold it is asked for, in seconds.
PART_LOOK_S = 2.0


class StoredJournals:
    """Reads the journals of all sessions at ``store``, in order. The reader calls ``advance`` after each line it has taken."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._part = store, Interval(PART_LOOK_S, clock)
        self.sessions = 0  # that were read to their end
        self._next = 0
        self._lines: deque[bytes] = deque()
        self._is_late = True

    @property
    def session(self) -> str:
        """Name of the session that is being read, or that comes next."""
        return f"{self.sessions:06d}"

    def line(self, *, is_waiting: bool) -> bytes | None:
        """The next line, or the first one of the next session; None if it is not stored yet.

        ``is_waiting``: whether the previous call returned None.

        Raises:
            OutputError: the store refused a request.
        """
        if not self._lines:
            number, within = divmod(self._next, PART_LINES)
            # A reader that starts late reads whole parts; the single lines that a part holds are deleted at some time.
            if (is_waiting and self._part.due()) or (within == 0 and self._is_late):
                part = self._store.get(part_name(self.session, number))
                self._is_late = part is not None
                self._lines.extend((part or b"").splitlines()[within:])
        if not self._lines and (line := self._store.get(line_name(self.session, self._next))) is not None:
            self._lines.append(line)
        return self._lines[0] if self._lines else None

    def advance(self) -> None:
        """Go on to the line after the one that ``line`` returned."""
        self._lines.popleft()
        self._next += 1

    def next_session(self) -> None:
        """Go on to the first line of the next session."""
        self.sessions, self._next = self.sessions + 1, 0
        self._lines.clear()
