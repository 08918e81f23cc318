"""Atomic writes to the local disk: data goes to a temporary file in the same folder, which is then renamed."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from pathlib import Path

from streamwave.util.private import make_folder

#: Published files are readable by web servers that run as other users, whatever the umask.
PUBLIC_FILE, PUBLIC_FOLDER = 0o644, 0o755


def replace_file(path: Path, data: bytes, *, durable: bool = False, mode: int | None = None) -> None:
    """Replace ``path`` by ``data`` atomically; ``durable``: the new content also survives a power failure.

    ``mode`` sets the permissions; without it the umask applies, which normally makes the file private.

    Several processes may write at once: each uses its own temporary file, and the last rename wins.

    Raises:
        OSError: the file cannot be written; no temporary file is left behind.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with part.open("wb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())  # before the rename: a crash must not leave the name on an empty file
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    if durable:
        fsync_folder(path.parent)


def make_public_folder(folder: Path) -> None:
    """Create a folder for published files durably, including missing parents: a file is only as durable as its folders.

    Raises:
        OSError: it cannot be created.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        make_folder(path, PUBLIC_FOLDER)
        fsync_folder(path.parent)


def fsync_folder(folder: Path) -> None:
    """Make renames and new files in ``folder`` durable.

    Raises:
        OSError: the folder is missing, or the disk reports an error.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def link_file(source: Path, target: Path) -> None:
    """Make ``target`` a hard link to ``source``, replacing an existing file; a copy if the file system does not support links.

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
        part.unlink(missing_ok=True)  # rename(2) does nothing if both are links to the same file
