"""Where objects are written: one small interface over fsspec, with an own way for the local disk, which can be atomic.

Names are relative, made of the parts that ``streamwave.layout`` forms; nothing outside of the root can be reached.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import fsspec

from streamwave.errors import OutputError

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_TEMPORARY = re.compile(r"\.[A-Za-z0-9_][A-Za-z0-9._-]*\.[0-9a-f]{8}")

CONTENT_TYPES: Mapping[str, str] = {
    ".mpd": "application/dash+xml",
    ".m3u8": "application/vnd.apple.mpegurl",
    ".mp4": "video/mp4",
    ".m4s": "video/mp4",
    ".json": "application/json",
    ".jsonl": "application/json",
    ".jpg": "image/jpeg",
}
IMMUTABLE = "public, max-age=31536000, immutable"
CHANGING = "no-cache"


def content_type(name: str) -> str:
    """Media type of an object by its name (RFC 8216 section 4, ISO/IEC 23009-1 annex C)."""
    return CONTENT_TYPES.get(os.path.splitext(name)[1], "application/octet-stream")


def cache_control(name: str) -> str:
    """Segments never change under their name, everything else may."""
    return IMMUTABLE if name.endswith((".m4s", ".mp4")) else CHANGING


def check_name(name: str) -> str:
    """``name`` if it is a relative path of plain parts.

    Raises:
        OutputError: it is not; nothing was written.
    """
    if not all(_PART.fullmatch(part) for part in name.split("/")):
        raise OutputError(f"{name!r} cannot be the name of an object")
    return name


class Store(ABC):
    """A folder of objects. ``url`` is its root as a person would write it."""

    url: str

    @abstractmethod
    def put(self, name: str, data: bytes) -> None:
        """Write an object. Readers see the old or the new one; when this returns it is durable.

        Raises:
            OutputError: it could not be written.
        """

    @abstractmethod
    def get(self, name: str) -> bytes | None:
        """An object's bytes, or None if there is none."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Remove an object; no error if there is none."""

    @abstractmethod
    def names(self) -> list[str]:
        """All names below the root, sorted."""

    @abstractmethod
    def list_matching(self, pattern: str) -> list[str]:
        """Names that match ``pattern``, in which each ``*`` stands for a part of the path; sorted."""

    @abstractmethod
    def prune(self) -> None:
        """Remove folders that this object made or wrote to and that are empty now, where the store has folders."""

    def check(self) -> None:
        """Prove that objects can be written and removed.

        Raises:
            OutputError: they can't; the message says why.
        """
        probe = f"write-check-{secrets.token_hex(4)}"
        self.put(probe, b"streamwave")
        self.delete(probe)
        self.prune()

    @abstractmethod
    def tidy(self) -> None:
        """Remove what a writer that was killed left half-written, where that is possible."""


class LocalStore(Store):
    """A folder on a local disk: temporary file beside the target, fsync, rename, fsync of the folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.url = str(root)
        self._missing = [folder for folder in (self.root, *self.root.parents) if not folder.exists()]
        self._folders: set[Path] = set()

    def _path(self, name: str) -> Path:
        return self.root / check_name(name)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(f"{self.url} cannot be written ({_reason(error)})") from None

    def put(self, name: str, data: bytes) -> None:
        path = self._path(name)
        self._folders.add(path.parent)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        with self._explained():
            try:
                try:
                    file = temporary.open("wb")
                except FileNotFoundError:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    file = temporary.open("wb")
                with file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def get(self, name: str) -> bytes | None:
        try:
            return self._path(name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise OutputError(f"{self.url} cannot be read ({_reason(error)})") from None

    def delete(self, name: str) -> None:
        path = self._path(name)
        self._folders.add(path.parent)
        with self._explained(), suppress(NotADirectoryError):
            path.unlink(missing_ok=True)

    def names(self) -> list[str]:
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file())

    def list_matching(self, pattern: str) -> list[str]:
        return sorted(str(path.relative_to(self.root)) for path in self.root.glob(pattern) if path.is_file())

    def prune(self) -> None:
        inside = {parent for folder in self._folders for parent in (folder, *folder.parents)}
        for folder in sorted(inside, reverse=True):
            if folder != self.root and folder.is_relative_to(self.root):
                _rmdir(folder)
        for folder in self._missing:  # the innermost first; those that were there before us stay
            _rmdir(folder)

    def tidy(self) -> None:
        for pattern in ("", "ledger/", "p*/*/"):
            for path in self.root.glob(f"{pattern}.*"):
                if _TEMPORARY.fullmatch(path.name):
                    with self._explained():
                        path.unlink(missing_ok=True)


class FsspecStore(Store):
    """Any other file system of fsspec. A put is one request, so that no reader can see half of it."""

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        self.url = url.rstrip("/")
        try:
            self._fs, self._root = fsspec.core.url_to_fs(self.url, **(options or {}))
        except (ValueError, ImportError) as error:
            raise OutputError(f"{url} is not an address that can be written to ({error})") from None
        self._s3 = "s3" in (self._fs.protocol if isinstance(self._fs.protocol, tuple) else (self._fs.protocol,))

    def _path(self, name: str) -> str:
        return f"{self._root}/{check_name(name)}"

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # every file system has errors of its own
            if isinstance(error, OutputError):
                raise
            raise OutputError(f"{self.url} cannot be {doing} ({_reason(error)})") from None

    def put(self, name: str, data: bytes) -> None:
        extra = {"ContentType": content_type(name), "CacheControl": cache_control(name)} if self._s3 else {}
        with self._explained("written"):
            self._fs.pipe_file(self._path(name), data, **extra)

    def get(self, name: str) -> bytes | None:
        with self._explained("read"):
            try:
                data: bytes = self._fs.cat_file(self._path(name))
            except FileNotFoundError:
                return None
            return data

    def delete(self, name: str) -> None:
        with self._explained("changed"):
            try:
                self._fs.rm_file(self._path(name))
            except FileNotFoundError:
                return

    def names(self) -> list[str]:
        with self._explained("read"):
            try:
                found = self._fs.find(self._root)
            except FileNotFoundError:
                return []
        return sorted(path.removeprefix(self._root).lstrip("/") for path in found)

    def list_matching(self, pattern: str) -> list[str]:
        with self._explained("read"):
            try:
                self._fs.invalidate_cache()
                found = self._fs.glob(f"{self._root}/{pattern}")
            except FileNotFoundError:
                return []
        return sorted(path.removeprefix(self._root).lstrip("/") for path in found)

    def prune(self) -> None:
        return

    def tidy(self) -> None:
        return


def open_store(url: str, options: Mapping[str, Any] | None = None) -> Store:
    """The store for a folder or an fsspec URL.

    Raises:
        OutputError: the URL has an unknown scheme.
    """
    if "\0" in url or not url.strip():
        raise OutputError("the output must be a folder or an address such as s3://bucket/prefix")
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)::?//", url)
    if scheme is None:
        return LocalStore(Path(url).expanduser())
    if scheme[1].lower() in ("file", "local"):
        return LocalStore(Path(url.split("://", 1)[1]))
    return FsspecStore(url, options)


def _rmdir(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "no space left; free some or choose another place"
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return "permission denied; choose a folder that may be written to"
    if isinstance(error, NotADirectoryError | FileExistsError):
        return "a file is in the way of the folder; choose another place"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0][:300]
