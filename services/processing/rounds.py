"""Runs the janitor every hour, in a thread of the service."""

from __future__ import annotations

import logging
import threading

from streamwave.config.settings import Settings
from streamwave.errors import StreamWaveError
from streamwave.retention import janitor

log = logging.getLogger("streamwave.processing")

#: Delay of the first round, so that it does not slow down the start of the service.
FIRST_S = 60.0
ROUND_S = 3600.0


class Rounds:
    """Calls the janitor until ``stop``. A failed round is logged; the next one tries again."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="janitor", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Start no further round. A running one is not waited for: the janitor can be interrupted at any point."""
        self._stopping.set()

    def _run(self) -> None:
        wait_s = FIRST_S
        while not self._stopping.wait(wait_s):
            wait_s = ROUND_S
            try:
                janitor.clean_unattended(self._settings)
            except (StreamWaveError, OSError) as error:
                log.warning("the janitor stopped early, next round in %g s: %s", ROUND_S, error)
            except Exception:
                log.exception("unexpected error in the janitor, next round in %g s", ROUND_S)
