"""Checks of what the player page shows of a broadcast: its entry, its line in the index, and its thumbnail."""

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
    """Findings about the entry and the thumbnail of the broadcast at ``path``, and about the index in the output's ``root``.

    ``live``: whether its manifests are those of a live broadcast; they are newer than the entry.
    """
    entry = read_entry(store)
    if not entry:
        return [f"{ENTRY}: missing or unreadable, so the broadcast is not listed"]
    findings = []
    if not live and State.of_entry(entry.get("state")) is not State.RECORDED:
        findings.append(f"{ENTRY}: the state is {entry.get('state')}, but the broadcast is over")
    # The entry of a moved broadcast has the old path until the janitor has updated the index.
    if path == f"{entry.get('stream')}/{entry.get('id')}" and path not in _listed(root):
        findings.append(f"{INDEX}: the broadcast is not listed; streamwave broadcasts clean repairs that")
    if entry.get("thumbnail"):
        data = store.get(THUMBNAIL)
        if data is None:
            findings.append(f"{THUMBNAIL}: missing")
        elif not _is_picture(data):
            findings.append(f"{THUMBNAIL}: not an image")
    return findings


def _listed(root: Store) -> set[str]:
    """Paths of the broadcasts in the index at ``root``."""
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
