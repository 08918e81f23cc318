"""Whether Prefect's server answers, and when that is worth a word: not while it is still starting beside us."""

from __future__ import annotations

import logging
from collections.abc import Callable

log = logging.getLogger("streamwave.processing")

#: A server that has not answered yet may take this long before it counts as missing.
LATE_S = 30.0


class Answering:
    """Remembers whether the server answers; ``on_change`` is told. Times are of ``time.monotonic()``."""

    def __init__(self, on_change: Callable[[bool], None], now_s: float) -> None:
        self.healthy: bool | None = None
        self._on_change = on_change
        self._late_at: float = now_s + LATE_S
        self._missed = False

    def note(self, fault: str, now_s: float) -> None:
        """``fault`` is what is wrong with it, empty if it has answered."""
        healthy = not fault
        if not healthy and not self._missed and now_s >= self._late_at:
            self._missed = True
            log.warning("%s; streams that run go on, starts are tried again", fault)
        elif healthy:
            if self._missed:
                log.info("Prefect's server answers again" if self._late_at == 0 else "Prefect's server answers")
            self._missed, self._late_at = False, 0.0  # it is there: the next time that it is not is a fault at once
        if healthy != self.healthy:
            self.healthy = healthy
            self._on_change(healthy)
