"""The store: one small interface to a folder of objects, whatever they lie on.

Names are relative, made of the parts that ``streamwave.layout`` forms; nothing outside of the root can be reached.
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
    ".jsonl": "application/jsonl",  # https://jsonlines.org; a line of JSON each, and so no JSON as a whole
    ".jpg": "image/jpeg",
}
#: Objects that are read at the same time where each is a round trip.
PARALLEL_GETS = 16
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


@dataclass(frozen=True)
class Entry:
    """An object as a listing shows it. ``modified_unix_ms`` is the store's clock at the last put."""

    name: str
    size: int
    modified_unix_ms: int


class Store(ABC):
    """A folder of objects. ``url`` is its root as a person would write it. Thread-safe.

    ``remote``: every request is a round trip, so requests that do not depend on each other are better sent at once.
    """

    url: str
    remote = False
    _placed = False

    @abstractmethod
    def put(self, name: str, data: bytes) -> None:
        """Write an object. Readers see the old or the new one; when this returns it is durable.

        Raises:
            OutputError: it could not be written.
        """

    @abstractmethod
    def get(self, name: str) -> bytes | None:
        """An object's bytes, or None if there is none.

        Raises:
            OutputError: it could not be read, or there is not even a bucket; as all that follow.
        """

    def get_all(self, names: Sequence[str]) -> Iterator[tuple[str, bytes | None]]:
        """Each of ``names`` with what ``get`` gives, in their order; where that is a round trip, several at a time."""
        if not self.remote or len(names) < 2:
            yield from ((name, self.get(name)) for name in names)
            return
        with ThreadPoolExecutor(PARALLEL_GETS, thread_name_prefix="get") as pool:
            yield from zip(names, pool.map(self.get, names), strict=True)

    @abstractmethod
    def delete(self, name: str) -> None:
        """Remove an object; no error if there is none."""

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Whether there is such an object."""

    @abstractmethod
    def entries(self, folder: str = "") -> list[Entry]:
        """All objects below the root, or below ``folder`` in it, sorted by name."""

    def names(self) -> list[str]:
        """All names below the root, sorted."""
        return [entry.name for entry in self.entries()]

    @abstractmethod
    def list_matching(self, pattern: str) -> list[str]:
        """Names that match ``pattern``, in which each ``*`` stands for a part of the path; sorted."""

    @abstractmethod
    def prune(self) -> None:
        """Remove folders that this object made or wrote to and that are empty now, where the store has folders."""

    def remember_place(self, levels: int) -> None:
        """Note which folder lies ``levels`` above the root, at least one, so that ``is_in_place`` knows it again."""
        self._placed = levels > 0

    def is_in_place(self) -> bool:
        """Whether the noted folder is certainly the same as then, whatever became of what is in it.

        Of a disk that is not mounted any more the folder is another one. A bucket that is not there refuses by itself.
        """
        return self._placed

    def check(self) -> None:
        """Prove that objects can be written, read back and removed.

        Raises:
            OutputError: they can't; the message says why and what to do.
        """
        probe, content = f"write-check-{secrets.token_hex(4)}", secrets.token_bytes(64)
        # Publishing looks for objects that are not there yet, which some rights to S3 forbid.
        missing = self.get(probe)
        self.put(probe, content)
        same = self.get(probe) == content
        self.delete(probe)
        self.prune()
        if missing is not None or not same:
            raise OutputError(f"{self.url} gives back other bytes than were written; choose another output")

    @abstractmethod
    def tidy(self) -> None:
        """Remove what a writer that was killed left half-written, where that is possible."""


def reason(error: Exception) -> str:
    """Why the operating system or a file system refused, in a few words for a person."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "no space left; free some or choose another place"
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return "permission denied; choose a folder that may be written to"
    if isinstance(error, NotADirectoryError | FileExistsError):
        return "a file is in the way of the folder; choose another place"
    if isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ENAMETOOLONG, errno.ENODEV):
        return f"{str(error.strerror).lower()}; choose another place"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0][:300]
