"""Ask the kernel which process holds a file lock; a stored pid may belong to another process by now."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def is_locked(path: Path) -> bool:
    """Whether any process holds an exclusive ``flock`` on ``path``. The kernel releases the lock when the process dies."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


@contextmanager
def passing_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive ``flock`` on ``path``, a file that exists only while a process holds the lock or waits for it.

    Blocks until the lock is free. A file that a killed process left behind is reused, and removed afterwards.
    """
    while True:
        with open(path, "ab", opener=_ours_alone) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # The previous holder has removed the file: another process may already hold a new one of the same name.
            if not _is_at(file, path):
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _ours_alone(path: str, flags: int) -> int:
    # Mode 0600: any user who can open the file could lock it.
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _is_at(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def holds(pid: int, path: Path) -> bool:
    """Whether the process ``pid`` itself holds an exclusive ``flock`` on ``path``, as far as this process can see.

    The process must have this very file open, and the kernel must list the lock at that descriptor (proc(5), ``fdinfo``). The
    inode number alone is not unique across file systems, and a process that only reads has the file open too.
    """
    if pid <= 0:
        return False
    try:
        wanted = path.stat()
        descriptors = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
    return any(_holds(pid, descriptor, wanted) for descriptor in descriptors)


def _holds(pid: int, descriptor: Path, wanted: os.stat_result) -> bool:
    try:
        if not os.path.samestat(descriptor.stat(), wanted):
            return False
        told = Path(f"/proc/{pid}/fdinfo/{descriptor.name}").read_text(encoding="ascii")
    except OSError:
        return False
    # lock:  1: FLOCK  ADVISORY  WRITE 4711 08:01:131 0 EOF
    return any(
        line.startswith("lock:") and line.split()[2:5] == ["FLOCK", "ADVISORY", "WRITE"] for line in told.splitlines()
    )


def lock_holder(path: Path) -> int | None:
    """The process that holds an exclusive ``flock`` on ``path``, if visible from here; never this process."""
    try:
        inode = str(path.stat().st_ino)
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        # 1: FLOCK  ADVISORY  WRITE 4711 08:01:131 0 EOF; waiting processes have "->" after the number
        fields = line.split()
        if fields[1:4] == ["FLOCK", "ADVISORY", "WRITE"] and fields[5].rpartition(":")[2] == inode:
            pid = int(fields[4])
            if pid != os.getpid() and holds(pid, path):
                return pid
    return None


def signal_holder(pid: int, path: Path, number: signal.Signals) -> bool:
    """Send a signal to the process ``pid`` if it holds ``path`` and is not this process; return whether it was sent."""
    if pid == os.getpid():
        return False
    try:
        # A pidfd keeps referring to this process, even if its number is reused.
        handle = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if not holds(pid, path):
            return False
        signal.pidfd_send_signal(handle, number)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True
