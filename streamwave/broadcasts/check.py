"""A broadcast's entry in the list of broadcasts, and its thumbnail: what pages show that lead to it."""

from __future__ import annotations

from io import BytesIO

import av

from streamwave.broadcasts.catalog import read_entry
from streamwave.errors import OutputError
from streamwave.layout import ENTRY, INDEX, THUMBNAIL
from streamwave.model import State
from streamwave.storage.store import Store
from streamwave.untrusted import parse_json


def check_entry(root: Store, store: Store, path: str, *, live: bool) -> list[str]:
    """A finding for everything about the broadcast at ``path`` that is missing, unreadable or wrong in its entry, in the
    list at ``root``, which is that of the output, and in its thumbnail.

    ``live``: its manifests say that it goes on, and what they say is newer.
    """
    entry = read_entry(store)
    if not entry:
        return [f"{ENTRY}: it is missing or cannot be read, so that no list shows the broadcast"]
    findings = []
    if not live and State.of_entry(entry.get("state")) is not State.RECORDED:
        findings.append(f"{ENTRY}: it says that the broadcast is {entry.get('state')}, which is over")
    # One that was moved is listed where it is now when the janitor has been there.
    if path == f"{entry.get('stream')}/{entry.get('id')}" and path not in _listed(root):
        findings.append(f"{INDEX}: the broadcast is not in it; streamwave broadcasts clean mends that")
    if entry.get("thumbnail"):
        data = store.get(THUMBNAIL)
        if data is None:
            findings.append(f"{THUMBNAIL}: it is missing")
        elif not _is_picture(data):
            findings.append(f"{THUMBNAIL}: it is no picture")
    return findings


def _listed(root: Store) -> set[str]:
    """The broadcasts in the list at ``root``."""
    try:
        listed = parse_json(root.get(INDEX) or b"[]")
        members = listed["broadcasts"] if isinstance(listed, dict) else listed
        return {f"{one['stream']}/{one['id']}" for one in members}
    except (ValueError, KeyError, TypeError, OutputError):
        return set()


def _is_picture(data: bytes) -> bool:
    try:
        with av.open(BytesIO(data), "r") as container:
            return any(True for _ in container.decode(video=0))
    except (av.FFmpegError, IndexError):
        return False
