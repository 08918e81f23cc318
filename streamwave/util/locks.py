"""Who holds a file lock, from what the kernel tells of processes: a number alone may belong to somebody else by now."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def is_locked(path: Path) -> bool:
    """Whether anybody holds an exclusive ``flock`` on ``path``. The kernel lets go of it the moment that he dies."""
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
    """Hold an exclusive ``flock`` on ``path``, a file that is there only for as long as somebody holds or wants it.

    Waits for whoever holds it. What a killed process leaves is taken over, and gone afterwards.
    """
    while True:
        with open(path, "ab", opener=_ours_alone) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Whoever held it has removed it: somebody else may hold the file that has its name by now.
            if not _is_at(file, path):
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _ours_alone(path: str, flags: int) -> int:
    # Whoever can open it can hold it.
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _is_at(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def holds(pid: int, path: Path) -> bool:
    """Whether the process ``pid`` itself holds an exclusive ``flock`` on ``path``, as far as can be seen from here.

    It has to have that very file open, and the kernel to list the lock at that descriptor (proc(5), ``fdinfo``): an
    inode's number alone is that of files on other disks too, and a reader has the file open as well.
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
    """The process that holds an exclusive ``flock`` on ``path``, if it can be seen from here; never our own."""
    try:
        inode = str(path.stat().st_ino)
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        # 1: FLOCK  ADVISORY  WRITE 4711 08:01:131 0 EOF; waiting ones have "->" behind the number
        fields = line.split()
        if fields[1:4] == ["FLOCK", "ADVISORY", "WRITE"] and fields[5].rpartition(":")[2] == inode:
            pid = int(fields[4])
            if pid != os.getpid() and holds(pid, path):
                return pid
    return None


def signal_holder(pid: int, path: Path, number: signal.Signals) -> bool:
    """Send a signal to the process ``pid`` if it holds ``path`` and is not ourselves; whether it was sent."""
    if pid == os.getpid():
        return False
    try:
        # From here on the process is meant, and no other that may get its number.
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
