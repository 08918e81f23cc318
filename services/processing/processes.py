"""Facts about processes from the kernel: whether a process is still the one that it was."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path


def start_ticks(pid: int) -> int | None:
    """When ``pid`` was started, in clock ticks since boot; None if there is no such process or only its remains."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def is_same(pid: int, ticks: int) -> bool:
    """Whether the process that had ``pid`` and ``ticks`` still runs: a number alone may belong to another by now."""
    return pid > 0 and start_ticks(pid) == ticks


def send(pid: int, ticks: int, number: signal.Signals) -> None:
    """Send a signal to the process that had ``pid`` and ``ticks``; harmless when it is gone."""
    if pid <= 0:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        handle = os.pidfd_open(pid)
        try:
            if is_same(pid, ticks):
                signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)
