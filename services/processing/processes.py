"""Facts about processes from the kernel: who holds a lock, whether a process is still the one that it was."""

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


def lock_holder(path: Path) -> int | None:
    """The process that holds a ``flock`` on ``path``, if it can be seen from here."""
    try:
        inode = path.stat().st_ino
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        # 1: FLOCK  ADVISORY  WRITE 4711 08:01:131 0 EOF
        fields = line.split()
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == str(inode):
            return int(fields[4]) or None
    return None


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal; harmless when the process is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
