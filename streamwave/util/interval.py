"""Something that is done at most once per interval by a loop that runs more often."""

from __future__ import annotations

import time
from collections.abc import Callable


class Interval:
    """``due`` is true at its first call, then once every ``every_s`` seconds of ``clock``."""

    def __init__(self, every_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_s, self._clock = every_s, clock
        self._last = float("-inf")

    def due(self) -> bool:
        """Whether the interval has passed; if so, the next one begins now."""
        now = self._clock()
        if now - self._last < self._every_s:
            return False
        self._last = now
        return True
