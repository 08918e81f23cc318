"""Space that must stay free on the disk of the spool while a live stream is received.

What was received is published by way of work files beside the spool, and only then its chunks go. If receiving took the
last byte, nothing could be published any more, and nothing would ever become free again.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

#: What is left for work: a part of the disk, at most so much.
RESERVE_PART, RESERVE_BYTES = 20, 256_000_000


def has_room(folder: Path) -> bool:
    """Whether ``folder`` may receive more."""
    try:
        check_room(folder)
    except OSError:
        return False
    return True


def check_room(folder: Path) -> None:
    """Look whether ``folder`` may receive more.

    Raises:
        OSError: (ENOSPC) no; its ``strerror`` says why.
    """
    free, reserve = _free(folder)
    if free < reserve:
        raise OSError(
            errno.ENOSPC,
            f"no space left: {free / 1e6:.0f} MB are free, and publishing what was received needs {reserve / 1e6:.0f} MB",
        )


def spare_bytes(folder: Path) -> int:
    """What is free on the disk of ``folder`` beyond the space that must stay free."""
    free, reserve = _free(folder)
    return max(0, free - reserve)


def _free(folder: Path) -> tuple[int, int]:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize, min(RESERVE_BYTES, disk.f_blocks * disk.f_frsize // RESERVE_PART)
