"""Finds what to remove from a spool in a store: finished broadcasts and leftovers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from streamwave.spool.broadcast import FINISHED, INFO, BroadcastSpool, broadcasts
from streamwave.spool.info import is_ours
from streamwave.spool.remote.exchange import CLEARED
from streamwave.spool.remote.objects import open_spool, remove_broadcast

#: Minimum age: younger objects may belong to a run that is just ending.
YOUNG_MS = 3_600_000


def finished_here(spool_dir: Path) -> Iterator[BroadcastSpool]:
    """Finished broadcasts of this machine that may still have objects in the store."""
    for spool in broadcasts(spool_dir):
        if spool.finished and not (spool.folder / CLEARED).exists() and spool.info().spool:
            yield spool


def left_in_store(url: str, options: Mapping[str, Any], now_unix_ms: int) -> Iterator[str]:
    """Addresses of broadcasts in the spool at ``url`` that can be removed, whichever machine received them.

    Raises:
        OutputError: the store cannot be listed.
    """
    store = open_spool(url, options)
    found: dict[str, set[str]] = defaultdict(set)
    for name in store.list_matching("*/*/*"):
        folder, _, last = name.rpartition("/")
        found[folder].add(last)
    for folder, names in sorted(found.items()):
        if not is_ours(*folder.split("/")):  # the bucket may have other people's objects
            continue
        if FINISHED in names or INFO not in names:
            newest = max((entry.modified_unix_ms for entry in store.entries(folder)), default=now_unix_ms)
            if now_unix_ms - newest > YOUNG_MS:
                yield f"{url.rstrip('/')}/{folder}"


def remove_from_store(url: str, options: Mapping[str, Any]) -> None:
    """Remove the broadcast whose spool is at ``url``.

    Raises:
        OutputError: the store refused; the call can be repeated.
    """
    remove_broadcast(open_spool(url, options))
