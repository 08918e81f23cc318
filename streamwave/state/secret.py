"""Files that hold secrets. They are created with mode 0600, so that no other user can ever read them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from streamwave.errors import OutputError


def write_secret(path: Path, text: str) -> None:
    """Write ``text`` to a new private file that replaces ``path``, even if that one was readable by others.

    Raises:
        OSError: it cannot be written.
    """
    _write_beside(path, text).replace(path)


def lasting_secret(path: Path, make: Callable[[], str]) -> str:
    """The secret stored in ``path``, or a new one from ``make``. If two processes create it at once, the first wins.

    Raises:
        OutputError: the file cannot be read or written.
    """
    try:
        found = _read(path)
        if not found:
            path.parent.mkdir(parents=True, exist_ok=True)
            part = _write_beside(path, make())
            try:
                os.link(part, path)  # not a rename, which would replace the file of the other process
            except FileExistsError:
                pass
            finally:
                part.unlink()
            found = _read(path)
        return found
    except OSError as error:
        raise OutputError(
            f"{path} cannot be read or written ({error.strerror}); check the folder STREAMWAVE_STATE_DIR"
        ) from None


def _write_beside(path: Path, text: str) -> Path:
    part = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    return part


def _read(path: Path) -> str:
    """The text without surrounding whitespace; empty if there is no file. Makes a file private that others could read."""
    try:
        with path.open(encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                os.fchmod(file.fileno(), 0o600)
            return file.read().strip()
    except FileNotFoundError:
        return ""
