"""Start-up of every StreamWave process: its files are private to its user, and it can gain no privileges.

Published files get explicit modes instead (``files.py``); files that a user asks for, such as exports, follow the user's umask.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys
from pathlib import Path

#: The warning that `up` and `serve` print to root.
RUN_AS_USER = (
    "running as root: a vulnerability in FFmpeg or nginx would give an attacker root too. Create a user for StreamWave: "
    "adduser --system --group streamwave, chown -R streamwave the state folder and the output, then sudo -u streamwave "
    "streamwave up"
)

_PR_SET_NO_NEW_PRIVS = 38
_libc = ctypes.CDLL(None, use_errno=True)
_umask_of_user: int | None = None


def begin() -> None:
    """Set umask 077 and no_new_privs (prctl(2)), which child processes inherit. Call it before any thread starts."""
    global _umask_of_user
    before = os.umask(0o077)
    if _umask_of_user is None:
        _umask_of_user = before
    # Ignore the result: if the kernel or a sandbox refuses, the process continues without it.
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def umask_of_user() -> int:
    """The umask that this process was started with."""
    if _umask_of_user is not None:
        return _umask_of_user
    now = os.umask(0o077)
    os.umask(now)
    return now


def python_argv(module: str, *arguments: str) -> list[str]:
    """Command that runs ``module``. ``-P`` keeps a file in the working directory from shadowing a module."""
    return [sys.executable, "-P", "-m", module, *arguments]


def make_folder(folder: Path, mode: int = 0o700) -> None:
    """Create ``folder`` with ``mode`` regardless of the umask, and missing parents with the user's umask. Existing ones
    are kept.

    Raises:
        OSError: it cannot be created.
    """
    above = 0o777 & ~umask_of_user()
    for path in reversed((folder, *folder.parents)):
        if not path.exists():
            path.mkdir(exist_ok=True)
            set_mode(path, mode if path == folder else above)


def set_mode(folder: Path, mode: int) -> None:
    """Set a folder's permissions to ``mode``, keeping its set-group-ID bit, which may be inherited.

    Raises:
        OSError: the folder belongs to another user.
    """
    os.chmod(folder, stat.S_IMODE(folder.stat().st_mode) & ~0o777 | mode)
