"""Logs of bounded size: files are truncated to their newest part, and repeated messages are counted instead of written.

Processes append to their log directly (O_APPEND), so logging continues when the process that started them is gone.
``ShortLog`` is a thread in that process or its parent that watches the file's size. docs/decisions/0019-edges.md lists every
log and its bound.
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

#: Maximum size; a longer log is truncated to its newest part, of half this size.
LOG_BYTES = 4_000_000
#: How often the size is checked; between checks the log may exceed the limit.
LOOK_S = 1.0
#: This many messages of one kind are written per interval; the next one afterwards says how many were suppressed.
MAX_SIMILAR, PER_S = 20, 10.0
#: Kinds of messages that are counted separately; all others share one counter.
_KINDS = 500
#: Stack frames of an error that are logged, innermost first.
_FRAMES = 3

_FORMAT, _DATE = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S"


def cut(path: Path, max_bytes: int) -> None:
    """Truncate a log longer than ``max_bytes`` to the newest half of that. Lines written at the same moment may be lost."""
    with suppress(OSError):  # the file does not exist (yet), or the disk is full
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            size = os.fstat(handle).st_size
            if size <= max_bytes:
                return
            kept = os.pread(handle, max_bytes // 2, size - max_bytes // 2)
            os.ftruncate(handle, 0)
            os.write(handle, b"[older lines removed to limit the size of this log]\n" + kept[kept.find(b"\n") + 1 :])
        finally:
            os.close(handle)


class ShortLog:
    """Context manager that keeps the log at ``path`` short until ``close``, or for the life of this process."""

    def __init__(self, path: Path, max_bytes: int = LOG_BYTES) -> None:
        self._path, self._max_bytes = path, max_bytes
        self._closed = threading.Event()
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def _run(self) -> None:
        while not self._closed.wait(LOOK_S):
            cut(self._path, self._max_bytes)

    def close(self) -> None:
        """Stop watching."""
        self._closed.set()
        cut(self._path, self._max_bytes)

    def __enter__(self) -> ShortLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class Repeated(logging.Filter):
    """Lets ``MAX_SIMILAR`` warnings (or worse) of one kind pass per ``PER_S`` seconds; the next one afterwards counts the rest.

    Messages are of the same kind if they have the same logger and the same format string. Thread-safe.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}  # end of the interval, and messages so far
        self._tidied = 0.0
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write ``record``."""
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
                return count < MAX_SIMILAR
            self._seen[kind] = (now + PER_S, 1)
        if count > MAX_SIMILAR:
            record.msg, record.args = f"{record.getMessage()} [{count - MAX_SIMILAR} similar messages suppressed]", ()
        return True


class OneLine(logging.Formatter):
    """One line per record, in UTC. Errors show their type, message and origin; with ``debug``, the full traceback."""

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
    """Log to standard error: the logger ``ours`` from ``level`` up, all others from warnings up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine(debug=level == "debug"))
    handler.addFilter(Repeated())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(ours).setLevel(level.upper())
