"""Folders of one run, which are removed even if the run is killed: by whoever makes the next one."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

#: File in such a folder that the run holds locked; the lock of one that was killed is gone.
OWNER = "owner"


def make_scratch(root: Path, prefix: str) -> tuple[Path, IO[bytes]]:
    """A new folder in ``root``, and the file in it that is locked for as long as the run lives.

    Raises:
        OSError: it cannot be made.
    """
    root.mkdir(parents=True, exist_ok=True)
    remove_abandoned(root, prefix)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=root))
    # Locked before it gets its name: whoever finds it under that can rely on it.
    owner = (folder / f".{OWNER}").open("wb")
    fcntl.flock(owner, fcntl.LOCK_EX)
    (folder / f".{OWNER}").replace(folder / OWNER)
    return folder, owner


def remove_abandoned(root: Path, prefix: str) -> None:
    """Remove the folders of runs that were killed and could not do it themselves."""
    for path in root.glob(f"{prefix}*/{OWNER}"):
        with suppress(OSError), path.open("rb") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path.parent, ignore_errors=True)


@contextmanager
def scratch_folder(root: Path, prefix: str) -> Iterator[Path]:
    """``make_scratch`` for the time of a block; afterwards it is gone."""
    folder, owner = make_scratch(root, prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        owner.close()
