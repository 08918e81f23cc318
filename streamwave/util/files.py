"""Files of ours on the local disk that are never seen torn: written beside their place, then renamed."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from pathlib import Path

from streamwave.util.private import make_folder

#: What is published is there for web servers of other users, whatever the umask.
PUBLIC_FILE, PUBLIC_FOLDER = 0o644, 0o755


def replace_file(path: Path, data: bytes, *, durable: bool = False, mode: int | None = None) -> None:
    """Put ``data`` in the place of ``path``, whole or not at all; ``durable``: it is there after a power cut as well.

    ``mode`` are its permissions; without it the umask decides, which lets nobody but us read it.

    Several writers at once are no trouble: each has a temporary file of its own, and the last one counts.

    Raises:
        OSError: it cannot be written; nothing is left of the attempt.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with part.open("wb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())  # before its name: a crash must not leave the name on an empty file
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    if durable:
        fsync_folder(path.parent)


def make_public_folder(folder: Path) -> None:
    """Make a folder of what is published, durably: a name is as safe as the folders that lead to it.

    Raises:
        OSError: it cannot be made.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        make_folder(path, PUBLIC_FOLDER)
        fsync_folder(path.parent)


def fsync_folder(folder: Path) -> None:
    """Make renames and new names in ``folder`` durable.

    Raises:
        OSError: the folder is gone, or the disk refuses.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def link_file(source: Path, target: Path) -> None:
    """Give ``source`` the further name ``target``, in the place of what is there; a copy where the disk knows no such names.

    Raises:
        OSError: it cannot be written.
    """
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        try:
            part.hardlink_to(source)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV):
                raise
            shutil.copyfile(source, part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)  # two names of one file are not replaced by each other
