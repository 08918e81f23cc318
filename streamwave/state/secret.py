"""Files that hold secrets: readable by their owner only, from their first byte on."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from streamwave.errors import OutputError


def write_secret(path: Path, text: str) -> None:
    """Replace ``path``; also one that others could read.

    Raises:
        OSError: it can't be written.
    """
    _write_beside(path, text).replace(path)


def lasting_secret(path: Path, make: Callable[[], str]) -> str:
    """The secret that ``path`` keeps; ``make`` forms it on first use. Of two processes that make it at once the first counts.

    Raises:
        OutputError: the file can't be read or written.
    """
    try:
        found = _read(path)
        if not found:
            path.parent.mkdir(parents=True, exist_ok=True)
            part = _write_beside(path, make())
            try:
                os.link(part, path)  # and not a rename, which would replace the file of the other process
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
    """The text without surrounding space, empty if there is no file. Takes the file away from others who could read it."""
    try:
        with path.open(encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                os.fchmod(file.fileno(), 0o600)
            return file.read().strip()
    except FileNotFoundError:
        return ""
