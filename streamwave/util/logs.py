"""Logs that stay small, whoever makes us write them: files are cut to their newest part, repeated messages are counted.

Processes write their log by themselves (O_APPEND), also when whoever started them is gone; ``ShortLog`` is a thread, of
theirs or of their owner's, that looks at the file's size. docs/decisions/0019-edges.md lists every log and its bound.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from types import TracebackType

#: A log that has become longer than this is cut to its newest half.
LOG_BYTES = 4_000_000
#: How often its size is looked at; until then it may grow beyond that.
LOOK_S = 1.0
#: Of the same message so many are written in this time; the next one says how many were left out.
MOST, PER_S = 20, 10.0
#: Messages that are told apart for that; those that come on top of it count as one.
_KINDS = 500
#: Functions that a log names of an error's traceback, the innermost first.
_FRAMES = 3

_FORMAT, _DATE = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S"


def cut(path: Path, max_bytes: int) -> None:
    """Leave the newest half of ``max_bytes`` of a log that is longer. What is written to it meanwhile may be lost."""
    with suppress(OSError):  # it is not there (yet), or the disk is full
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            size = os.fstat(handle).st_size
            if size <= max_bytes:
                return
            kept = os.pread(handle, max_bytes // 2, size - max_bytes // 2)
            os.ftruncate(handle, 0)
            os.write(handle, b"[what was here before was too long and is left out]\n" + kept[kept.find(b"\n") + 1 :])
        finally:
            os.close(handle)


class ShortLog:
    """Keeps the log at ``path`` short until ``close``, or for as long as this process lives; a context manager."""

    def __init__(self, path: Path, max_bytes: int = LOG_BYTES) -> None:
        self._path, self._max_bytes = path, max_bytes
        self._closed = threading.Event()
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def _run(self) -> None:
        while not self._closed.wait(LOOK_S):
            cut(self._path, self._max_bytes)

    def close(self) -> None:
        """Look at it no more."""
        self._closed.set()
        cut(self._path, self._max_bytes)

    def __enter__(self) -> ShortLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class Repeated(logging.Filter):
    """Lets ``MOST`` warnings (or worse) of the same kind pass in ``PER_S``; the one after that says how many did not.

    The same kind is the same text before its values are put in, of the same logger. Thread-safe.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}  # until when, and how many so far
        self._tidied = 0.0
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether ``record`` is written."""
        if record.levelno < logging.WARNING:
            return True
        now, kind = time.monotonic(), (record.name, str(record.msg)[:100])
        with self._lock:
            if kind not in self._seen and len(self._seen) >= _KINDS:
                if now > self._tidied + 1:
                    self._seen, self._tidied = {one: seen for one, seen in self._seen.items() if seen[0] > now}, now
                if len(self._seen) >= _KINDS:
                    kind = (record.name, "")
            until, count = self._seen.get(kind, (0.0, 0))
            if now < until:
                self._seen[kind] = (until, count + 1)
                return count < MOST
            self._seen[kind] = (now + PER_S, 1)
        if count > MOST:
            record.msg, record.args = f"{record.getMessage()} [and {count - MOST} more like this before]", ()
        return True


class OneLine(logging.Formatter):
    """A line for each record, in UTC: of an error its kind, its message and where it was raised; all of it with ``debug``."""

    converter = staticmethod(time.gmtime)

    def __init__(self, *, debug: bool = False) -> None:
        super().__init__(_FORMAT, _DATE)
        self._debug = debug

    def format(self, record: logging.LogRecord) -> str:
        """``record`` as text."""
        if self._debug:
            return super().format(record)
        text = f"{self.formatTime(record, _DATE)}.{record.msecs:03.0f}Z {record.levelname} {record.name} "
        text += record.getMessage()
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            text += f" ({type(error).__name__}: {error}; {_where(error)})"
        text = text.replace("\r", " ").replace("\n", " ")
        return text if len(text) <= 2000 else text[:1999] + "…"


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return " < ".join(f"{Path(one.filename).name}:{one.lineno} {one.name}" for one in reversed(frames))


def log_to_stderr(level: str, ours: str) -> None:
    """Log to standard error: of the logger ``ours`` from ``level`` on, of all others warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine(debug=level == "debug"))
    handler.addFilter(Repeated())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(ours).setLevel(level.upper())
