"""Who else could change a file or a folder, and so what our processes do that read or execute it.

The rule is sshd's for a user's files: they belong to the user or to root, and nobody else may write to them. A group that
has only this user counts as nobody else, because such groups come with a umask of 002.
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

#: Names a file of settings in place of ``.env``; empty: none is read.
ENV_FILE_VARIABLE = "STREAMWAVE_ENV_FILE"
ENV_FILE = ".env"


def fault(path: Path) -> str | None:
    """Why others could change the file or folder ``path`` (links are followed); None if they cannot, or it is not there."""
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
    """``fault`` of a file, of the folder in which it is looked up, and of the one that a link leads to."""
    real = Path(os.path.realpath(path))
    places = dict.fromkeys((path.parent.absolute(), real.parent, real))
    return next((found for found in map(fault, places) if found), None)


def remedy(reason: str) -> str:
    """What to do about a ``fault``."""
    what = "chown it to yourself, or run this as its owner" if " belongs to " in reason else "chmod go-w it"
    return f"{what}, or start from a folder of your own"


def env_file() -> Path | None:
    """The file of settings to read: the one that STREAMWAVE_ENV_FILE names, else ``.env`` in the working directory.

    Raises:
        SettingsError: the named one is missing, or somebody else could have written the one that is here.
    """
    named = os.environ.get(ENV_FILE_VARIABLE)
    if named is not None:
        if named and not os.path.isfile(named):
            raise SettingsError(f"{ENV_FILE_VARIABLE} names {named!r}, which is no file")
        return Path(named) if named else None
    if not os.path.exists(ENV_FILE):
        return None
    if reason := fault_of_file(Path(ENV_FILE)):
        raise SettingsError(
            f"{ENV_FILE} is not read, because {reason}: {remedy(reason)}; {ENV_FILE_VARIABLE}=/path/to/file reads a file "
            "all the same, and empty none"
        )
    return Path(ENV_FILE)


def check_named_here(variable: str, value: str) -> None:
    """Refuse a setting that names a file by a relative path, if somebody else could have written what is there.

    Raises:
        SettingsError: they could.
    """
    if os.path.isabs(value) or not os.path.exists(value):
        return
    if reason := fault_of_file(Path(value)):
        raise SettingsError(f"{variable} names {value!r} in the working directory, but {reason}: write its full path")


def check_working_folder() -> None:
    """Refuse to run for long in a folder that others can write to: they could put files of settings or code there.

    Raises:
        SettingsError: they can.
    """
    if reason := fault(Path.cwd()):
        raise SettingsError(f"{reason}, the folder this is started in: {remedy(reason)}")


def safe_folder(home: Path) -> Path | None:
    """Where a child should run that needs no relative path: ``home`` if others can write to this folder, else None."""
    return home if fault(Path.cwd()) else None


@contextmanager
def away_from_here(home: Path) -> Iterator[None]:
    """Stand in ``home`` while Prefect is loaded, if others can write to the working directory: Prefect reads settings there.

    Raises:
        SettingsError: a file is there that Prefect would take settings from.
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
    """Path of a program: ``name`` itself if it is a path, else as found in PATH and then the folders ``further``.

    Entries of PATH that are relative (``.``, an empty one) depend on where one stands, and are passed over.
    """
    folders = [*os.environ.get("PATH", os.defpath).split(os.pathsep), *further]
    return shutil.which(name, path=os.pathsep.join(filter(os.path.isabs, folders)) or os.defpath)


def user_name(uid: int) -> str:
    """A user's name, or number where it has none."""
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
