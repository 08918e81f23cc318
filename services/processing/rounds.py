"""The janitor's rounds: once an hour, in a thread of the service, for as long as that runs."""

from __future__ import annotations

import logging
import threading

from streamwave.config.settings import Settings
from streamwave.errors import StreamWaveError
from streamwave.retention import janitor

log = logging.getLogger("streamwave.processing")

#: The first round comes when the start is over, so that it holds up nobody.
FIRST_S = 60.0
ROUND_S = 3600.0


class Rounds:
    """Calls the janitor until it is stopped. A round that fails is logged; the next one tries again."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="janitor", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; a round that is under way is not waited for, since it can break off anywhere."""
        self._stopping.set()

    def _run(self) -> None:
        wait_s = FIRST_S
        while not self._stopping.wait(wait_s):
            wait_s = ROUND_S
            try:
                janitor.clean_unattended(self._settings)
            except (StreamWaveError, OSError) as error:
                log.warning("the janitor's round broke off: %s", error)
            except Exception:
                log.exception("the janitor's round broke off")
