"""Signs of life: an object that changes for as long as somebody lives. Its reader judges by a clock of its own."""

from __future__ import annotations

import time
from collections.abc import Callable


class Sign:
    """What a reader has seen of one; it is looked at every ``every_s`` seconds.

    Only time over which it could be read counts as silence: a store that does not answer is no sign of death.
    """

    def __init__(self, every_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most_s, self._clock = 2 * every_s, clock
        self._last: bytes | None = None
        self._read_at: float | None = None
        self.silent_s = 0.0

    @property
    def seen(self) -> bool:
        """Whether it was ever read, there or not."""
        return self._read_at is not None

    def saw(self, data: bytes | None) -> bool:
        """Take note of what it says now; whether that has changed."""
        now, changed = self._clock(), data != self._last
        if changed or self._read_at is None:
            self.silent_s = 0.0
        else:
            self.silent_s += min(now - self._read_at, self._most_s)
        self._last, self._read_at = data, now
        return changed

    def lives(self) -> None:
        """There was another sign: the silence begins anew."""
        self.silent_s = 0.0
