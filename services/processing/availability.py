"""Whether Prefect's server answers. Its absence is logged, except while it may still be starting together with us."""

from __future__ import annotations

import logging
from collections.abc import Callable

log = logging.getLogger("streamwave.processing")

#: A server that has never answered is reported as missing only after this time.
LATE_S = 30.0


class Availability:
    """Remembers whether the server answers and calls ``on_change`` on changes. Times are those of ``time.monotonic()``."""

    def __init__(self, on_change: Callable[[bool], None], now_s: float) -> None:
        self.healthy: bool | None = None
        self._on_change = on_change
        self._late_at: float = now_s + LATE_S
        self._missed = False

    def note(self, fault: str, now_s: float) -> None:
        """Record the result of a request; ``fault`` says what went wrong and is empty if the server answered."""
        healthy = not fault
        if not healthy and not self._missed and now_s >= self._late_at:
            self._missed = True
            log.warning("%s; running streams continue, and new ones start once it answers", fault)
        elif healthy:
            if self._missed:
                log.info("Prefect's server answers again" if self._late_at == 0 else "Prefect's server answers")
            self._missed, self._late_at = False, 0.0  # from now on, every absence is reported at once
        if healthy != self.healthy:
            self.healthy = healthy
            self._on_change(healthy)
