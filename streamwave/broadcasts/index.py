"""The index of broadcasts that the player page shows: one entry object per broadcast, collected in broadcasts.json."""

from __future__ import annotations

import json
import os
import stat
import tempfile
import time
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from streamwave.broadcasts import catalog
from streamwave.errors import OutputError
from streamwave.layout import ENTRY, INDEX, MANIFEST, MASTER, THUMBNAIL
from streamwave.model import State
from streamwave.publish.outputs import Outputs
from streamwave.publish.publication import Publication
from streamwave.spool.broadcast import BroadcastInfo
from streamwave.storage.outputs import outputs, outputs_above
from streamwave.storage.store import Store
from streamwave.timing import round_half_up
from streamwave.untrusted import parse_json
from streamwave.util.locks import passing_lock


def update(
    published: Outputs, info: BroadcastInfo, s3_options: Mapping[str, Any], places: Collection[str] | None = None
) -> None:
    """Write the entry of a broadcast and the index at every output, or only at those whose URLs are in ``places``.

    Raises:
        OutputError: an output refused; the others were written.
    """
    roots, faults = outputs(outputs_above(info.output, 2)), []
    for root, output in zip(roots, published.queues, strict=True):
        place = output.publication
        wanted = places is None or output.url in places
        if wanted and place is not None and place.ledger.timeline is not None:
            try:
                update_at(place, info, root.open(s3_options))
            except OutputError as error:
                faults.append(error)
    if faults:
        raise faults[0]


def update_at(published: Publication, info: BroadcastInfo, root: Store) -> None:
    """Write the entry of a broadcast at one output, and the index in its ``root``."""
    timeline = published.timeline
    path = f"{info.stream}/{info.broadcast}"
    entry = {
        "stream": info.stream,
        "id": info.broadcast,
        "title": info.title or info.stream,
        "state": (State.RECORDED if timeline.ended else State.LIVE).in_entry,
        "started_unix_ms": timeline.created_unix_ms,
        "duration_ms": round_half_up(timeline.duration * 1000),
        "ended_unix_ms": time.time_ns() // 1_000_000 if timeline.ended else None,
        "renditions": catalog.renditions(timeline),
        "size_bytes": catalog.size_bytes(timeline),
        "manifest": f"{path}/{MANIFEST}",
        "hls": f"{path}/{MASTER}",
        "thumbnail": f"{path}/{THUMBNAIL}" if published.store.get(THUMBNAIL) is not None else None,
    }
    published.store.put(ENTRY, json.dumps(entry).encode())
    rebuild(root)


def mark_clean(store: Store) -> None:
    """Record in the entry of a recording that it has no unreferenced objects."""
    data = store.get(ENTRY)
    if data is not None:
        store.put(ENTRY, json.dumps(parse_json(data) | {"clean": True}).encode())


def rebuild(root: Store) -> None:
    """Rebuild the index from the entries that exist, newest first."""
    with _one_at_a_time(root.url):
        root.put(INDEX, json.dumps({"broadcasts": _entries(root)}).encode())


def is_current(root: Store) -> bool:
    """Whether the index lists exactly the broadcasts that exist, with their states.

    It becomes outdated if somebody moves, restores or deletes a broadcast by hand, or if two machines write concurrently.
    """
    data, there = root.get(INDEX), _entries(root)
    try:
        listed = parse_json(data)["broadcasts"] if data is not None else []
        return _places(listed) == _places(there)
    except (ValueError, TypeError, KeyError, AttributeError):
        return False


def _places(entries: list[dict[str, Any]]) -> set[tuple[Any, Any]]:
    return {(entry.get("manifest"), entry.get("state")) for entry in entries}


def _entries(root: Store) -> list[dict[str, Any]]:
    entries = []
    for name, data in root.get_all(root.list_matching(f"*/*/{ENTRY}")):
        if data is not None:
            with suppress(ValueError, TypeError, KeyError):  # not an entry of ours
                entry = parse_json(data)
                if isinstance(entry["started_unix_ms"], int) and State.of_entry(entry["state"]) is not State.DELETED:
                    entries.append(_at(name.removesuffix(f"/{ENTRY}"), entry))
    return sorted(entries, key=lambda entry: entry["started_unix_ms"], reverse=True)


def _at(path: str, entry: dict[str, Any]) -> dict[str, Any]:
    """``entry`` with the names and addresses for ``path``, where somebody may have moved the broadcast."""
    stream, _, broadcast = path.partition("/")
    if entry.get("stream") == stream and entry.get("id") == broadcast:
        return entry
    thumbnail = f"{path}/{THUMBNAIL}" if entry.get("thumbnail") else None
    place = {"manifest": f"{path}/{MANIFEST}", "hls": f"{path}/{MASTER}", "thumbnail": thumbnail}
    return entry | {"stream": stream, "id": broadcast} | place


def _one_at_a_time(url: str) -> AbstractContextManager[None]:
    # Serializes the runs on this machine; a race between machines is repaired by the next update.
    digest = sha256(url.encode()).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"streamwave-{os.geteuid()}-index-{digest}.lock"
    # Every user may create files in /tmp: never wait for a lock file that is not ours.
    return passing_lock(path) if _is_ours(path) else nullcontext()


def _is_ours(path: Path) -> bool:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return True
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
