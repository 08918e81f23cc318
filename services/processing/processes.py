"""Identifies processes by id and start time, because the kernel reuses ids."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path


def start_ticks(pid: int) -> int | None:
    """When ``pid`` was started, in clock ticks since boot; None if no such process exists or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def is_same(pid: int, ticks: int) -> bool:
    """Whether the process with this id and start time still runs."""
    return pid > 0 and start_ticks(pid) == ticks


def send(pid: int, ticks: int, number: signal.Signals) -> None:
    """Send a signal to the process with this id and start time; harmless if it has exited."""
    if pid <= 0:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        handle = os.pidfd_open(pid)
        try:
            if is_same(pid, ticks):
                signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)
