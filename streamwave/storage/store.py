"""Open the store that an address refers to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streamwave.errors import OutputError
from streamwave.storage.base import (
    CHANGING,
    IMMUTABLE,
    Entry,
    Store,
    cache_control,
    check_name,
    content_type,
)
from streamwave.storage.local import LocalStore
from streamwave.storage.remote import FsspecStore

__all__ = [
    "CHANGING", "IMMUTABLE", "Entry", "FsspecStore", "LocalStore", "Store", "cache_control", "check_name",
    "content_type", "open_store",
]  # fmt: skip


def open_store(url: str, options: Mapping[str, Any] | None = None, *, quick: bool = False) -> Store:
    """The store at a folder or an fsspec URL. ``quick``: one short attempt per request (see ``FsspecStore``).

    Raises:
        OutputError: the address is empty or invalid, or has an unknown scheme.
    """
    if "\0" in url or not url.strip():
        raise OutputError("the output must be a folder or an address such as s3://bucket/prefix")
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)::?//", url)
    if scheme is None:
        try:
            return LocalStore(Path(url).expanduser())
        except RuntimeError:
            raise OutputError(
                f"~ in the output {url!r} names a user without a home folder here; write the full path"
            ) from None
    if scheme[1].lower() in ("file", "local"):
        return LocalStore(Path(url.split("://", 1)[1]))
    return FsspecStore(url, options, quick=quick)
