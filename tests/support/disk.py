"""A disk that can be really full: a file system of a few megabytes that disappears with the test."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size_kb: int, options: str = "rw") -> Iterator[Path]:
    """Mount a file system of ``size_kb`` with ``options``, and yield a path to it.

    It is mounted in the namespace of a sleeping process, so it needs neither root nor clean-up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    # FFmpeg runs with few capabilities, and may access through /proc only processes that have no more than those.
    holds = 'exec setpriv --bounding-set=-all --inh-caps=-all -- sh -c "echo mounted && exec sleep 600"'
    script = f'mount -t tmpfs -o size={size_kb}k,{options} tmpfs "$0" && {holds}'
    command = ["unshare", "--mount", *user, "sh", "-c", script, str(folder)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert holder.stdout is not None
        said = holder.stdout.readline()
        assert said == "mounted\n", f"no file system could be mounted: {said}"
        yield Path(f"/proc/{holder.pid}/root{folder.absolute()}")
    finally:
        holder.kill()
        holder.communicate(timeout=60)


def fill(disk: Path, but: int = 0) -> Path:
    """Fill the disk except for ``but`` bytes. Returns the file that takes the space."""
    ballast = disk / "ballast"
    with pytest.raises(OSError, match="No space left"), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            continue
    if but:
        os.truncate(ballast, max(0, ballast.stat().st_size - but))
    return ballast


def swap(one: Path, other: Path) -> None:
    """Exchange two files or folders in one step, so that a process that looks there never finds neither."""
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE: see renameat2(2)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(here, os.fsencode(one), here, os.fsencode(other), exchange):
        raise OSError(ctypes.get_errno(), f"{one} and {other} could not be exchanged")
