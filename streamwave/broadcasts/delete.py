"""Delete a whole broadcast, in an order in which no reader is ever told of something that is gone."""

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

#: Objects that are deleted at the same time.
PARALLEL_DELETES = 16


def remove(
    output: Output, broadcast: Broadcast, progress: Callable[[int, int], None] = lambda done, total: None
) -> int:
    """Delete ``broadcast`` and its place in the list; the number of objects that went.

    Objects of others that lie beside it stay. A removal that was interrupted can be repeated: until the end the
    broadcast's entry says that it is being deleted, which the list of broadcasts leaves out.

    Raises:
        UsageError: it is live.
        OutputError: the output refused; what is left is found by the next removal, or by the janitor.
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
    # From the root of all, so that the folders that become empty go as well; a folder of somebody's own choice may
    # have a name that no object can have.
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
    """Make place at ``store``, the folder of one broadcast: delete what a removal that broke off has left.

    ``whole``: also a broadcast that is there. What is not ours stays.

    Raises:
        OutputError: the store refused; to be repeated.
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
    """Have the entry say that the broadcast is being deleted, until that itself goes."""
    entry = read_entry(store) | {"state": State.DELETED.in_entry, "started_unix_ms": started_unix_ms}
    store.put(ENTRY, json.dumps(entry).encode())


def _in_stages(names: Iterable[str]) -> list[list[str]]:
    """``names`` in groups that have to go one after the other."""
    stages: dict[int, list[str]] = {}
    for name in names:
        stages.setdefault(_stage(name), []).append(name)
    return [stages[stage] for stage in sorted(stages)]


def _stage(name: str) -> int:
    """Manifests before what they name, the ledger's beginning before the rest of it, the entry at the very end."""
    if name in (MANIFEST, LIVE_MANIFEST, MASTER):
        return 0
    if name.endswith(".m3u8"):
        return 1
    if name == ledger_name(0):
        return 2
    return {FENCE: 4, ENTRY: 5}.get(name, 3)


def _remove_empty(folder: Path) -> None:
    """Remove the empty folders that an interrupted removal has left."""
    for path in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        with suppress(OSError):
            path.rmdir()


def delete_all(store: Store, names: Iterable[str]) -> Iterator[str]:
    """Delete ``names`` several at a time; each as it is gone.

    Raises:
        OutputError: the output refused one; others may be gone.
    """
    with ThreadPoolExecutor(PARALLEL_DELETES, thread_name_prefix="delete") as pool:
        listed = list(names)
        for name, _ in zip(listed, pool.map(store.delete, listed), strict=True):
            yield name
