"""Temporary folders of one run. If the run is killed, the next run removes them."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

#: File in the folder that the run keeps locked; the kernel releases the lock if the run is killed.
OWNER = "owner"


def make_scratch(root: Path, prefix: str) -> tuple[Path, IO[bytes]]:
    """Create a new folder in ``root``; return it and its lock file, which stays locked while the run lives.

    Raises:
        OSError: it cannot be created.
    """
    root.mkdir(parents=True, exist_ok=True)
    remove_abandoned(root, prefix)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=root))
    # Lock the file before renaming it to its final name, so that nobody finds it unlocked.
    owner = (folder / f".{OWNER}").open("wb")
    fcntl.flock(owner, fcntl.LOCK_EX)
    (folder / f".{OWNER}").replace(folder / OWNER)
    return folder, owner


def remove_abandoned(root: Path, prefix: str) -> None:
    """Remove the folders of runs that were killed before they could do so."""
    for path in root.glob(f"{prefix}*/{OWNER}"):
        with suppress(OSError), path.open("rb") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path.parent, ignore_errors=True)


@contextmanager
def scratch_folder(root: Path, prefix: str) -> Iterator[Path]:
    """``make_scratch`` as a context manager that removes the folder at the end."""
    folder, owner = make_scratch(root, prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        owner.close()
