"""Delete a whole broadcast, in an order in which readers never find a reference to a deleted object."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from streamwave.broadcasts import index
from streamwave.broadcasts.catalog import Broadcast, Output, read_entry
from streamwave.errors import UsageError
from streamwave.layout import ENTRY, FENCE, LIVE_MANIFEST, MANIFEST, MASTER, is_broadcast_object, ledger_name
from streamwave.model import State
from streamwave.storage.store import LocalStore, Store

#: Objects that are deleted concurrently.
PARALLEL_DELETES = 16


def remove(
    output: Output, broadcast: Broadcast, progress: Callable[[int, int], None] = lambda done, total: None
) -> int:
    """Delete ``broadcast`` and remove it from the index. Returns the number of deleted objects.

    Other people's files in the same folder are kept. An interrupted deletion can be repeated: its first step marks the
    entry as deleted, which hides the broadcast from the index, and the entry is deleted last.

    Raises:
        UsageError: the broadcast is live.
        OutputError: the output refused; the next deletion, or the janitor, removes the rest.
    """
    if broadcast.state is State.LIVE:
        raise UsageError(f"{broadcast.path} is live: end it first (streamwave streams disable, or cancel its run)")
    store = output.store(broadcast.path)
    listed = broadcast.path.count("/") == 1
    _mark(store, broadcast.started_unix_ms)
    if listed:
        index.rebuild(output.store())
    names = [name for name in store.names() if is_broadcast_object(name)]
    root = output.store()
    # Delete from the root of the output, so that folders that become empty are removed as well. A folder that a user chose
    # is its own root, because its name may be one that no object can have.
    base, prefix = (root, f"{broadcast.path}/") if listed else (store, "")
    done = 0
    for stage in _in_stages(names):
        for _ in delete_all(base, [prefix + name for name in stage]):
            done += 1
            progress(done, len(names))
    store.tidy()
    root.prune()
    if isinstance(store, LocalStore):
        _remove_empty(store.root)
        root.prune()
        if broadcast.path:
            with suppress(OSError):
                store.root.rmdir()
    return done


def clear(store: Store, *, whole: bool) -> None:
    """Prepare ``store``, the folder of one broadcast, for a new one: delete what an interrupted deletion has left.

    ``whole``: also delete an existing broadcast. Other people's files are kept.

    Raises:
        OutputError: the store refused; the call can be repeated.
    """
    entry = read_entry(store)
    if State.of_entry(entry.get("state")) is not State.DELETED:
        if not whole or store.get(ledger_name(0)) is None:
            return
        _mark(store, int(entry.get("started_unix_ms", 0)))
    for stage in _in_stages([name for name in store.names() if is_broadcast_object(name)]):
        list(delete_all(store, stage))
    store.prune()


def _mark(store: Store, started_unix_ms: int) -> None:
    """Mark the broadcast as being deleted in its entry."""
    entry = read_entry(store) | {"state": State.DELETED.in_entry, "started_unix_ms": started_unix_ms}
    store.put(ENTRY, json.dumps(entry).encode())


def _in_stages(names: Iterable[str]) -> list[list[str]]:
    """``names`` in groups that must be deleted one after the other."""
    stages: dict[int, list[str]] = {}
    for name in names:
        stages.setdefault(_stage(name), []).append(name)
    return [stages[stage] for stage in sorted(stages)]


def _stage(name: str) -> int:
    """Rank of ``name``: manifests before the media they name, the ledger's first part before the others, the entry last."""
    if name in (MANIFEST, LIVE_MANIFEST, MASTER):
        return 0
    if name.endswith(".m3u8"):
        return 1
    if name == ledger_name(0):
        return 2
    return {FENCE: 4, ENTRY: 5}.get(name, 3)


def _remove_empty(folder: Path) -> None:
    """Remove the empty folders that an interrupted deletion has left."""
    for path in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        with suppress(OSError):
            path.rmdir()


def delete_all(store: Store, names: Iterable[str]) -> Iterator[str]:
    """Delete ``names`` concurrently; yields each name, in order, once it is deleted.

    Raises:
        OutputError: the store refused to delete an object; others may have been deleted.
    """
    with ThreadPoolExecutor(PARALLEL_DELETES, thread_name_prefix="delete") as pool:
        listed = list(names)
        for name, _ in zip(listed, pool.map(store.delete, listed), strict=True):
            yield name
