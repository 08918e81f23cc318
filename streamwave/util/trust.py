"""Find out whether other users could change a file or folder, and with it what our processes read or execute.

The rule is sshd's for a user's files: they belong to the user or root, and nobody else may write to them. A group whose only
member is this user is accepted, because systems that create such groups also set the umask to 002.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from streamwave.errors import SettingsError

#: Names a settings file to read instead of ``.env``; if empty, none is read.
ENV_FILE_VARIABLE = "STREAMWAVE_ENV_FILE"
ENV_FILE = ".env"


def fault(path: Path) -> str | None:
    """Why other users could change the file or folder ``path`` (following links); None if they cannot, or it does not exist."""
    try:
        found = path.stat()
    except OSError:
        return None
    if found.st_uid not in (0, os.geteuid()):
        return f"{path} belongs to {user_name(found.st_uid)}"
    if found.st_mode & stat.S_IWOTH:
        return f"everybody may write to {path}"
    if found.st_mode & stat.S_IWGRP and not _only_ours(found.st_gid):
        return f"the group {_group_name(found.st_gid)} may write to {path}"
    return None


def fault_of_file(path: Path) -> str | None:
    """``fault`` for a file, the folder that contains it, and, if it is a link, the target and its folder."""
    real = Path(os.path.realpath(path))
    places = dict.fromkeys((path.parent.absolute(), real.parent, real))
    return next((found for found in map(fault, places) if found), None)


def remedy(reason: str) -> str:
    """What to do about a ``fault``, as the end of a message."""
    what = "chown it to yourself, or run this as its owner" if " belongs to " in reason else "chmod go-w it"
    return f"{what}, or start from a folder of your own"


def env_file() -> Path | None:
    """The settings file to read: the one that STREAMWAVE_ENV_FILE names, else ``.env`` in the working directory.

    Raises:
        SettingsError: the named file is missing, or another user could have written ``.env``.
    """
    named = os.environ.get(ENV_FILE_VARIABLE)
    if named is not None:
        if named and not os.path.isfile(named):
            raise SettingsError(f"{ENV_FILE_VARIABLE} names {named!r}, which does not exist or is not a file")
        return Path(named) if named else None
    if not os.path.exists(ENV_FILE):
        return None
    if reason := fault_of_file(Path(ENV_FILE)):
        raise SettingsError(
            f"{ENV_FILE} is not read, because {reason}: {remedy(reason)}; {ENV_FILE_VARIABLE}=/path/to/file reads a file "
            "regardless, and an empty value reads none"
        )
    return Path(ENV_FILE)


def check_named_here(variable: str, value: str) -> None:
    """Refuse a setting that names a file by a relative path if another user could have written that file.

    Raises:
        SettingsError: another user could have written it.
    """
    if os.path.isabs(value) or not os.path.exists(value):
        return
    if reason := fault_of_file(Path(value)):
        raise SettingsError(f"{variable} names {value!r} in the working directory, but {reason}: write its full path")


def check_working_folder() -> None:
    """Refuse to start a service in a folder that others can write to: they could place settings or code there.

    Raises:
        SettingsError: others can write to it.
    """
    if reason := fault(Path.cwd()):
        raise SettingsError(f"the working directory is not safe, because {reason}: {remedy(reason)}")


def safe_folder(home: Path) -> Path | None:
    """Working directory for a child that needs no relative paths: ``home`` if others can write to ours, else None (ours)."""
    return home if fault(Path.cwd()) else None


@contextmanager
def away_from_here(home: Path) -> Iterator[None]:
    """Change to ``home`` while Prefect is loaded if others can write to the working directory, where Prefect reads settings.

    Raises:
        SettingsError: the working directory contains a file from which Prefect would read settings.
    """
    here, reason = Path.cwd(), fault(Path.cwd())
    if reason is None:
        yield
        return
    for name, mark in (("prefect.toml", b""), ("pyproject.toml", b"tool.prefect")):
        with suppress(OSError):
            if mark in Path(name).read_bytes():
                raise SettingsError(f"Prefect's settings in {name} are not read, because {reason}: {remedy(reason)}")
    os.chdir(home)
    try:
        yield
    finally:
        os.chdir(here)


def program(name: str, *further: str) -> str | None:
    """Path of a program: ``name`` itself if it is a path, else the first match in PATH and then the folders ``further``.

    Relative entries of PATH (``.``, or an empty one) depend on the working directory and are skipped.
    """
    folders = [*os.environ.get("PATH", os.defpath).split(os.pathsep), *further]
    return shutil.which(name, path=os.pathsep.join(filter(os.path.isabs, folders)) or os.defpath)


def user_name(uid: int) -> str:
    """The name of a user, or "user" and the number if there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _only_ours(gid: int) -> bool:
    ours = {user_name(os.geteuid()), user_name(0)}
    try:
        members = set(grp.getgrgid(gid).gr_mem)
    except KeyError:
        return False
    return members | {user.pw_name for user in pwd.getpwall() if user.pw_gid == gid} <= ours
