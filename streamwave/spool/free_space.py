"""Disk space that must stay free on the spool's disk while a live stream is received.

Publishing needs work files on the same disk, and chunks are deleted only after they are published. If receiving used up
the disk, nothing could be published, and no space would ever be freed.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

#: The reserve: one part in so many of the disk, up to so many bytes.
RESERVE_PART, RESERVE_BYTES = 20, 256_000_000


def has_room(folder: Path) -> bool:
    """Whether ``folder`` may receive more."""
    try:
        check_room(folder)
    except OSError:
        return False
    return True


def check_room(folder: Path) -> None:
    """Check that ``folder`` may receive more.

    Raises:
        OSError: (ENOSPC) the reserve is used up; ``strerror`` has the figures.
    """
    free, reserve = _free(folder)
    if free < reserve:
        raise OSError(
            errno.ENOSPC,
            f"no space left: {free / 1e6:.0f} MB are free, but publishing the received chunks needs {reserve / 1e6:.0f} MB",
        )


def spare_bytes(folder: Path) -> int:
    """Free bytes on the disk of ``folder`` beyond the reserve."""
    free, reserve = _free(folder)
    return max(0, free - reserve)


def _free(folder: Path) -> tuple[int, int]:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize, min(RESERVE_BYTES, disk.f_blocks * disk.f_frsize // RESERVE_PART)
