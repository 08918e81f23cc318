"""A store in a folder on a local disk, with atomic and durable writes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from streamwave.errors import OutputError
from streamwave.storage.base import Entry, Store, check_name, reason
from streamwave.util.files import PUBLIC_FILE, make_public_folder, replace_file

#: How often something is done again because a folder was removed in the middle of it.
_TRIES = 5
_TEMPORARY = re.compile(r"\.[A-Za-z0-9_][A-Za-z0-9._-]*\.[0-9a-f]{8}")


class LocalStore(Store):
    """A folder on a local disk. A put writes a temporary file in the same folder, syncs and renames it, and syncs the
    folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.url = str(root)
        with self._explained():  # the name is too long, or a parent folder is not accessible
            self._missing = [folder for folder in (self.root, *self.root.parents) if not folder.exists()]
        self._folders: set[Path] = set()
        self._place: tuple[Path, tuple[int, int] | None] = self.root, None

    def remember_place(self, levels: int) -> None:
        super().remember_place(levels)
        place = (self.root, *self.root.parents)[levels]
        self._place = place, _identity(place)

    def is_in_place(self) -> bool:
        place, identity = self._place
        return self._placed and identity is not None and identity == _identity(place)

    def _path(self, name: str) -> Path:
        return self.root / check_name(name)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(f"{self.url} cannot be written ({reason(error)})") from None

    def put(self, name: str, data: bytes) -> None:
        path = self._path(name)
        self._folders.add(path.parent)
        with self._explained():
            # Who deletes the last broadcast of a stream removes its folder as well, perhaps at this very moment.
            for _ in range(_TRIES - 1):
                try:
                    replace_file(path, data, durable=True, mode=PUBLIC_FILE)
                    return
                except FileNotFoundError:
                    make_public_folder(path.parent)
            replace_file(path, data, durable=True, mode=PUBLIC_FILE)

    def get(self, name: str) -> bytes | None:
        try:
            return self._path(name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise OutputError(f"{self.url} cannot be read ({reason(error)})") from None

    def delete(self, name: str) -> None:
        path = self._path(name)
        self._folders.add(path.parent)
        with self._explained(), suppress(NotADirectoryError):
            path.unlink(missing_ok=True)

    def exists(self, name: str) -> bool:
        with self._explained():
            return self._path(name).is_file()

    def entries(self, folder: str = "") -> list[Entry]:
        found = []
        for place, _, files in os.walk(self._path(folder) if folder else self.root, onerror=_unless_hidden):
            # Skip temporary files, and files that were deleted after they were listed.
            for path in (Path(place, file) for file in files if not _TEMPORARY.fullmatch(file)):
                with suppress(FileNotFoundError):
                    stat = path.stat()
                    if path.is_file():
                        name = path.relative_to(self.root).as_posix()
                        found.append(Entry(name, stat.st_size, stat.st_mtime_ns // 1_000_000))
        return sorted(found, key=lambda entry: entry.name)

    def list_matching(self, pattern: str) -> list[str]:
        with self._explained():
            for _ in range(_TRIES - 1):
                with suppress(FileNotFoundError):  # a folder that has gone since it was listed
                    return self._matching(pattern)
            return self._matching(pattern)

    def _matching(self, pattern: str) -> list[str]:
        return sorted(str(path.relative_to(self.root)) for path in self.root.glob(pattern) if path.is_file())

    def prune(self) -> None:
        inside = {parent for folder in self._folders for parent in (folder, *folder.parents)}
        for folder in sorted(inside, reverse=True):
            if folder != self.root and folder.is_relative_to(self.root):
                _rmdir(folder)
        for folder in self._missing:  # innermost first; folders that existed before are kept
            _rmdir(folder)

    def tidy(self) -> None:
        for pattern in ("", "ledger/", "p*/*/"):
            for path in self.root.glob(f"{pattern}.*"):
                if _TEMPORARY.fullmatch(path.name):
                    with self._explained():
                        path.unlink(missing_ok=True)


def _unless_hidden(error: OSError) -> None:
    """Skip folders that were deleted after they were listed, and those that may not be read."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError | PermissionError):
        raise error


def _identity(folder: Path) -> tuple[int, int] | None:
    """Device and inode number of a folder; None if it does not exist."""
    try:
        stat = folder.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _rmdir(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return
