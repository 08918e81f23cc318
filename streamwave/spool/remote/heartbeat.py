"""Heartbeats: an object that changes while its writer is alive. The reader measures the silence with its own clock."""

from __future__ import annotations

import time
from collections.abc import Callable


class Heartbeat:
    """The reader's view of a heartbeat that it reads every ``every_s`` seconds.

    Only time during which it could be read counts as silence: a store that does not answer does not mean that the writer is
    dead.
    """

    def __init__(self, every_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most_s, self._clock = 2 * every_s, clock
        self._last: bytes | None = None
        self._read_at: float | None = None
        self.silent_s = 0.0

    @property
    def seen(self) -> bool:
        """Whether a read has ever succeeded, even if the object was missing."""
        return self._read_at is not None

    def saw(self, data: bytes | None) -> bool:
        """Record the content that was read. Returns whether it has changed."""
        now, changed = self._clock(), data != self._last
        if changed or self._read_at is None:
            self.silent_s = 0.0
        else:
            self.silent_s += min(now - self._read_at, self._most_s)
        self._last, self._read_at = data, now
        return changed

    def lives(self) -> None:
        """Record other evidence that the writer is alive, which resets the silence."""
        self.silent_s = 0.0
