"""The log of the service: one line per event, ``what name=value …``. Stream keys are never logged."""

from __future__ import annotations

import logging
import re
import threading
import time

from streamwave.util.logs import log_to_stderr

_PLAIN = re.compile(r"[\w./:@+-]{1,200}", re.ASCII)
#: ``limited`` logs a repeated event once in this time; the next line says how many were left out.
QUIET_S = 10.0
#: Events that ``limited`` remembers.
_MOST = 1000


class EventLog:
    """Writes events. Thread-safe."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}
        self._tidied = 0.0
        self._lock = threading.Lock()

    def info(self, what: str, **values: object) -> None:
        """Log an expected event."""
        self._logger.info("%s", line(what, values))

    def warning(self, what: str, **values: object) -> None:
        """Log an event that may need attention."""
        self._logger.warning(
            what + "%s", line("", values)
        )  # as part of the format, which the filter of repeats compares

    def error(self, what: str, **values: object) -> None:
        """Log a fault that must be repaired."""
        self._logger.error(what + "%s", line("", values))

    def limited(self, what: str, about: str, **values: object) -> None:
        """Log a warning that strangers can provoke: at most once per ``QUIET_S`` for the same ``what`` and ``about``."""
        now = time.monotonic()
        with self._lock:
            until, left_out = self._seen.get((what, about), (0.0, 0))
            if now < until:
                self._seen[what, about] = (until, left_out + 1)
                return
            if len(self._seen) >= _MOST:
                if now > self._tidied + 1:
                    self._seen, self._tidied = {key: seen for key, seen in self._seen.items() if seen[0] > now}, now
                if len(self._seen) >= _MOST:
                    # So many different events are an attack, which the log shows already.
                    return
            self._seen[what, about] = (now + QUIET_S, 0)
        self.warning(what, **values, **({"left_out": left_out} if left_out else {}))


def line(what: str, values: dict[str, object]) -> str:
    """An event as a line. Ambiguous values are quoted, and long ones cut, so that a value cannot forge a line or a field."""
    parts = [f"{name}={_value(str(value))}" for name, value in values.items() if value not in ("", None)]
    return " ".join([what, *parts])


def _value(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else ascii(text if len(text) <= 300 else text[:299] + "…")


def set_up(level: str) -> None:
    """Log to standard error with the time in UTC. Access logs stay off, because the URLs of hooks contain a token."""
    log_to_stderr(level, "ingest")
    logging.getLogger("uvicorn.access").disabled = True


events = EventLog(logging.getLogger("ingest"))
