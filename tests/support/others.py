"""The machine's other users: what one of them can see, and folders that he could change."""

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
    """Folders and files in ``places`` that another user can list, or open for reading. Needs root, as the tests have it."""
    found = subprocess.run(
        ["/usr/bin/python3", "-c", _LOOK, *map(str, places)],
        user=STRANGER, group=STRANGER, extra_groups=[], cwd="/", capture_output=True, text=True, check=True,
    )  # fmt: skip
    listed = set()
    for line in found.stdout.splitlines():
        # os.walk names a folder that it cannot list like one that is empty.
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
    """A new folder that every user can look into; pytest's own ones are closed."""
    folder = Path(tempfile.mkdtemp(prefix="streamwave-test-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def umask(value: int) -> Iterator[None]:
    """Processes that are started meanwhile inherit this umask."""
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


def too_open(folder: Path) -> dict[str, str]:
    """What in ``folder``, and it itself, has permissions for others, by path."""
    modes = {
        str(path): stat.S_IMODE(path.lstat().st_mode) for path in (folder, *folder.rglob("*")) if not path.is_symlink()
    }
    return {path: f"{mode:o}" for path, mode in modes.items() if mode & 0o077}


def traps(folder: Path, *modules: str) -> Path:
    """Modules in ``folder`` that leave a file when something imports them; where that file would be."""
    sprung = folder / "sprung"
    for name in modules:
        (folder / f"{name}.py").write_text(
            f"open({str(sprung)!r}, 'a').write('{name} by ' + repr(__import__('sys').argv))\n"
        )
    return sprung


def trap_program(path: Path) -> Path:
    """A program that leaves a file when it is executed; where that file would be."""
    sprung = path.with_name(f"{path.name}-sprung")
    path.write_text(f"#!/bin/sh\necho executed >> '{sprung}'\n")
    path.chmod(0o755)
    return sprung
