"""Other users of the machine: what they can see, and folders that they could change."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: A user without any rights, "nobody" on Debian.
STRANGER = 65534

_LOOK = """
import os, sys
for place in sys.argv[1:]:
    for folder, folders, files in os.walk(place):
        print(folder)
        for name in files:
            try:
                open(os.path.join(folder, name), "rb").close()
                print(os.path.join(folder, name))
            except OSError:
                pass
"""


def seen_by_stranger(*places: Path) -> set[str]:
    """Folders and files in ``places`` that another user can list or read. Requires root."""
    found = subprocess.run(
        ["/usr/bin/python3", "-c", _LOOK, *map(str, places)],
        user=STRANGER, group=STRANGER, extra_groups=[], cwd="/", capture_output=True, text=True, check=True,
    )  # fmt: skip
    listed = set()
    for line in found.stdout.splitlines():
        # os.walk reports a folder that cannot be listed as empty.
        if not os.path.isdir(line) or _listable(line):
            listed.add(line)
    return listed


def _listable(folder: str) -> bool:
    tried = subprocess.run(
        ["/usr/bin/python3", "-c", "import os, sys; os.listdir(sys.argv[1])", folder],
        user=STRANGER, group=STRANGER, extra_groups=[], cwd="/", capture_output=True, check=False,
    )  # fmt: skip
    return tried.returncode == 0


@contextmanager
def reachable_folder() -> Iterator[Path]:
    """A new folder that every user can read, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp(prefix="streamwave-test-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def umask(value: int) -> Iterator[None]:
    """Set the umask for processes that are started in this context."""
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


def too_open(folder: Path) -> dict[str, str]:
    """Paths of ``folder`` and its content that have permissions for other users, with their modes."""
    modes = {
        str(path): stat.S_IMODE(path.lstat().st_mode) for path in (folder, *folder.rglob("*")) if not path.is_symlink()
    }
    return {path: f"{mode:o}" for path, mode in modes.items() if mode & 0o077}


def traps(folder: Path, *modules: str) -> Path:
    """Put modules into ``folder`` that create a file when they are imported. Returns the path of that file."""
    sprung = folder / "sprung"
    for name in modules:
        (folder / f"{name}.py").write_text(
            f"open({str(sprung)!r}, 'a').write('{name} by ' + repr(__import__('sys').argv))\n"
        )
    return sprung


def trap_program(path: Path) -> Path:
    """Create a program that creates a file when it is executed. Returns the path of that file."""
    sprung = path.with_name(f"{path.name}-sprung")
    path.write_text(f"#!/bin/sh\necho executed >> '{sprung}'\n")
    path.chmod(0o755)
    return sprung
