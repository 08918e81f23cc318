"""Back-pressure: a source that can wait, such as a file, is held while the consumer of its chunks is behind."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from threading import Event

from streamwave.model import CONTAINERS
from streamwave.spool.options import Options

PAUSE_S = 0.05


class BackPressure:
    """Holds the source while ``options.max_ahead`` chunks wait in the spool; 0 never holds it.

    ``relieve`` is called before each pause, because the consumer may be waiting for the caller. ``stop`` ends the waiting.
    """

    def __init__(
        self, folder: Path, options: Options, *, has_video: bool, stop: Event, relieve: Callable[[], None]
    ) -> None:
        self._folder, self._options, self._stop, self._relieve = folder, options, stop, relieve
        self._suffixes = {f".{suffix}" for suffix in CONTAINERS} if has_video else {".aac"}

    def wait(self) -> None:
        """Return once there is room for another chunk."""
        if self._options.max_ahead <= 0:
            return
        while not self._stop.is_set() and self._waiting() >= self._options.max_ahead:
            self._relieve()
            time.sleep(PAUSE_S)

    def _waiting(self) -> int:
        """Chunks that the consumer has not taken yet, of this session and of those before it."""
        folder, pattern = (self._folder.parent, "*/*") if self._options.numbered else (self._folder, "*")
        return sum(1 for path in folder.glob(pattern) if path.suffix in self._suffixes)
