"""What every process of ours does first: its files are its user's alone, and it can gain no privileges any more.

Modes of what is published are explicit instead (``files.py``), and what a person asks for (an export) follows their umask.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys
from pathlib import Path

#: What `up` and `serve` say to root.
RUN_AS_USER = (
    "running as root, so whoever finds a hole in FFmpeg or nginx is root too; make a user for it: adduser --system --group "
    "streamwave, chown -R streamwave the state folder and the output, then sudo -u streamwave streamwave up"
)

_PR_SET_NO_NEW_PRIVS = 38
_libc = ctypes.CDLL(None, use_errno=True)
_umask_of_user: int | None = None


def begin() -> None:
    """Set umask 077 and no_new_privs (prctl(2)), which children inherit. Call it before there are threads."""
    global _umask_of_user
    before = os.umask(0o077)
    if _umask_of_user is None:
        _umask_of_user = before
    # A kernel or a sandbox that refuses leaves us as we were.
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def umask_of_user() -> int:
    """The umask that this process was started with."""
    if _umask_of_user is not None:
        return _umask_of_user
    now = os.umask(0o077)
    os.umask(now)
    return now


def python_argv(module: str, *arguments: str) -> list[str]:
    """Command that runs ``module``. ``-P``: a file in the working directory cannot take the place of a module."""
    return [sys.executable, "-P", "-m", module, *arguments]


def make_folder(folder: Path, mode: int = 0o700) -> None:
    """Make ``folder`` with ``mode`` whatever the umask, and those above it with the user's. One that is there stays as it is.

    Raises:
        OSError: it cannot be made.
    """
    above = 0o777 & ~umask_of_user()
    for path in reversed((folder, *folder.parents)):
        if not path.exists():
            path.mkdir(exist_ok=True)
            set_mode(path, mode if path == folder else above)


def set_mode(folder: Path, mode: int) -> None:
    """Give a folder the permissions ``mode``; it keeps its set-group-ID bit, which is inherited.

    Raises:
        OSError: it is not ours.
    """
    os.chmod(folder, stat.S_IMODE(folder.stat().st_mode) & ~0o777 | mode)
