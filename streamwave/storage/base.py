"""The store: a small interface to a folder of objects, independent of where they are kept.

Names are relative and consist of the parts that ``streamwave.layout`` forms; nothing outside the root can be reached.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from streamwave.errors import OutputError

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")

CONTENT_TYPES: Mapping[str, str] = {
    ".mpd": "application/dash+xml",
    ".m3u8": "application/vnd.apple.mpegurl",
    ".mp4": "video/mp4",
    ".m4s": "video/mp4",
    ".json": "application/json",
    ".jsonl": "application/jsonl",  # https://jsonlines.org; each line is JSON, the file is not
    ".jpg": "image/jpeg",
}
#: Objects that are requested at the same time if each request is a round trip.
PARALLEL_GETS = 16
IMMUTABLE = "public, max-age=31536000, immutable"
CHANGING = "no-cache"


def content_type(name: str) -> str:
    """Media type of an object, from its name (RFC 8216 section 4, ISO/IEC 23009-1 annex C)."""
    return CONTENT_TYPES.get(os.path.splitext(name)[1], "application/octet-stream")


def cache_control(name: str) -> str:
    """Cache-Control of an object: segments never change, everything else may."""
    return IMMUTABLE if name.endswith((".m4s", ".mp4")) else CHANGING


def check_name(name: str) -> str:
    """Return ``name`` if it is a relative path without special parts.

    Raises:
        OutputError: ``name`` is not such a path.
    """
    if not all(_PART.fullmatch(part) for part in name.split("/")):
        raise OutputError(f"{name!r} is not a valid object name")
    return name


@dataclass(frozen=True)
class Entry:
    """An object in a listing. ``modified_unix_ms`` is the time of the last put by the store's clock."""

    name: str
    size: int
    modified_unix_ms: int


class Store(ABC):
    """A folder of objects. ``url`` is its root as a user would write it. Thread-safe.

    ``remote``: every request is a round trip, so independent requests should be sent in parallel.
    """

    url: str
    remote = False
    _placed = False

    @abstractmethod
    def put(self, name: str, data: bytes) -> None:
        """Write an object atomically; it is durable when this returns.

        Raises:
            OutputError: it could not be written.
        """

    @abstractmethod
    def get(self, name: str) -> bytes | None:
        """An object's bytes, or None if it does not exist.

        Raises:
            OutputError: it could not be read, or the bucket does not exist. The methods below raise this too.
        """

    def get_all(self, names: Sequence[str]) -> Iterator[tuple[str, bytes | None]]:
        """The name and content (see ``get``) of each of ``names``, in order; a remote store gets several at a time."""
        if not self.remote or len(names) < 2:
            yield from ((name, self.get(name)) for name in names)
            return
        with ThreadPoolExecutor(PARALLEL_GETS, thread_name_prefix="get") as pool:
            yield from zip(names, pool.map(self.get, names), strict=True)

    @abstractmethod
    def delete(self, name: str) -> None:
        """Remove an object; no error if it does not exist."""

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Whether the object exists."""

    @abstractmethod
    def entries(self, folder: str = "") -> list[Entry]:
        """All objects below the root, or below its subfolder ``folder``, sorted by name."""

    def names(self) -> list[str]:
        """All names below the root, sorted."""
        return [entry.name for entry in self.entries()]

    @abstractmethod
    def list_matching(self, pattern: str) -> list[str]:
        """Names that match ``pattern``, in which each ``*`` stands for one part of the path; sorted."""

    @abstractmethod
    def prune(self) -> None:
        """Remove empty folders that this object created or wrote to, if the store has folders."""

    def remember_place(self, levels: int) -> None:
        """Record the identity of the folder ``levels`` above the root (at least one), for ``is_in_place``."""
        self._placed = levels > 0

    def is_in_place(self) -> bool:
        """Whether the recorded folder still exists and is the same one, whatever its contents.

        If a disk is no longer mounted, its mount point is a different folder. A missing bucket raises an error anyway.
        """
        return self._placed

    def check(self) -> None:
        """Check that objects can be written, read back and deleted.

        Raises:
            OutputError: they cannot; the message says why and what to do.
        """
        probe, content = f"write-check-{secrets.token_hex(4)}", secrets.token_bytes(64)
        # Publishing looks for objects that do not exist yet, which some S3 permissions do not allow.
        missing = self.get(probe)
        self.put(probe, content)
        same = self.get(probe) == content
        self.delete(probe)
        self.prune()
        if missing is not None or not same:
            raise OutputError(f"{self.url} returns different data than was written; choose another output")

    @abstractmethod
    def tidy(self) -> None:
        """Remove temporary files left behind by writers that were killed, if the store has any."""


def reason(error: Exception) -> str:
    """Why the operating system or a file system refused, in a few words for the user."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "no space left; free some or choose another place"
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return "permission denied; choose a writable folder"
    if isinstance(error, NotADirectoryError | FileExistsError):
        return "a file is in the way of the folder; choose another place"
    if isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ENAMETOOLONG, errno.ENODEV):
        return f"{str(error.strerror).lower()}; choose another place"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0][:300]
