"""A store on any fsspec file system but the local disk, mainly S3. A put is one request, so it is atomic."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

from streamwave.errors import OutputError
from streamwave.storage import s3
from streamwave.storage.base import Entry, Store, cache_control, check_name, content_type, reason

#: Folders that are listed at the same time.
PARALLEL_LISTINGS = 16

_Found = TypeVar("_Found")


class FsspecStore(Store):
    """A store on an fsspec file system. ``quick``: one short attempt per request, for callers that want errors at once."""

    def __init__(self, url: str, options: Mapping[str, Any] | None = None, *, quick: bool = False) -> None:
        self.url = url.rstrip("/")
        self._s3 = re.match(r"s3a?:", self.url) is not None
        self._given, self._quick = options or {}, quick
        try:
            self._connect()
        except (ValueError, ImportError) as error:
            raise OutputError(f"{url} is not an address that can be written to ({error})") from None
        except Exception as error:  # some file systems connect immediately
            raise OutputError(f"{url} cannot be reached ({reason(error)})") from None
        self.remote = self._s3 or getattr(self._fs, "async_impl", False)

    def _connect(self) -> None:
        import fsspec

        self._options = s3.connection(self._given, quick=self._quick) if self._s3 else self._given
        self._fs, self._root = fsspec.core.url_to_fs(self.url, **self._options)
        if self._s3:
            self._fs.retries = 1 if self._quick else s3.ROUNDS

    def _look_for_credentials(self) -> None:
        """Switch to new credentials if there are any: a stream can run longer than its credentials are valid."""
        if self._quick or "key" in self._given:
            return
        if s3.renew_session(self._given.get("profile")) is not self._options["session"]:
            self._connect()

    def _path(self, name: str) -> str:
        return f"{self._root}/{check_name(name)}"

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OutputError:
            raise
        except Exception as error:  # every file system raises errors of its own
            why = s3.explain(error) if self._s3 else None
            if why in s3.OF_CREDENTIALS:
                self._look_for_credentials()
            raise OutputError(f"{self.url} cannot be {doing} ({why or reason(error)})") from None

    def put(self, name: str, data: bytes) -> None:
        extra: dict[str, Any] = {}
        if self._s3:
            # s3fs would start a multipart upload above twice this size.
            extra = {"ContentType": content_type(name), "CacheControl": cache_control(name), "chunksize": s3.ONE_PUT}
        path = self._path(name)
        with self._explained("written"):
            self._fs.pipe_file(path, data, **extra)

    def get(self, name: str) -> bytes | None:
        # By default, s3fs gets the size first and then reads ranges, which could be of two different versions of the object.
        extra = {"max_concurrency": 1} if self._s3 else {}
        path = self._path(name)
        with self._explained("read"):
            found: bytes | None = self._unless_absent(lambda: self._fs.cat_file(path, **extra), None)
            return found

    def delete(self, name: str) -> None:
        path = self._path(name)
        with self._explained("changed"):
            self._unless_absent(lambda: self._fs.rm_file(path), None)

    def exists(self, name: str) -> bool:
        path = self._path(name)
        with self._explained("read"):
            found: bool = self._unless_absent(lambda: self._fs.info(path)["type"] == "file", False)
            return found

    def entries(self, folder: str = "") -> list[Entry]:
        below = self._path(folder) if folder else self._root
        with self._explained("read"):
            self._fs.invalidate_cache()
            found: list[dict[str, Any]] = self._unless_absent(
                lambda: list(self._fs.find(below, detail=True).values()), []
            )
        return [
            Entry(self._name(info["name"]), int(info["size"] or 0), _modified_unix_ms(info))
            for info in sorted(found, key=lambda info: info["name"])
            if info["type"] == "file"
        ]

    def list_matching(self, pattern: str) -> list[str]:
        # fsspec's glob treats a failed listing as empty, and lists far more than necessary.
        *folders, last = pattern.split("/")
        below = [self._root]
        with self._explained("read"), ThreadPoolExecutor(PARALLEL_LISTINGS, thread_name_prefix="list") as pool:
            self._fs.invalidate_cache()
            for part in folders:
                if part != "*":
                    below = [f"{folder}/{part}" for folder in below]
                else:
                    listings = pool.map(self._listed, below)
                    below = [info["name"] for infos in listings for info in infos if info["type"] == "directory"]
            found = [info for infos in pool.map(self._listed, below) for info in infos if info["type"] == "file"]
        names = [self._name(info["name"]) for info in found]
        return sorted(name for name in names if last in ("*", name.rpartition("/")[2]))

    def _listed(self, folder: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._unless_absent(lambda: list(self._fs.ls(folder, detail=True)), [])
        return [info for info in found if info["name"] != folder]  # an object with the folder's own name

    def _unless_absent(self, ask: Callable[[], _Found], absent: _Found) -> _Found:
        """The result of ``ask``, or ``absent`` if the object does not exist. A missing bucket is an error."""
        try:
            return ask()
        except FileNotFoundError as error:
            if self._s3 and s3.explain(error) is not None:
                raise
            return absent

    def _name(self, path: str) -> str:
        return path.removeprefix(self._root).lstrip("/")

    def prune(self) -> None:
        return

    def tidy(self) -> None:
        return


def _modified_unix_ms(info: Mapping[str, Any]) -> int:
    """When an object was written. File systems use different names for this."""
    for key in ("LastModified", "mtime", "updated", "last_modified", "created"):
        moment = info.get(key)
        if isinstance(moment, datetime):
            return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
        if isinstance(moment, int | float):
            return int(moment * 1000)
    return 0
