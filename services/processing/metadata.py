"""Metadata that callers attach to a session: validated, bounded and stored in the folder of the broadcast."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from pathlib import Path

from services.processing.faults import BadField
from streamwave.untrusted import parse_json
from streamwave.util.files import replace_file

FILE = "metadata.json"
MAX_ENTRIES = 32
MAX_LENGTH = 256

_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
#: Keys with numeric values, and the format of those.
_NUMBERS = {
    "width": re.compile(r"[0-9]{1,5}"),
    "height": re.compile(r"[0-9]{1,5}"),
    "fps": re.compile(r"[0-9]{1,6}(\.[0-9]{1,6}|/[0-9]{1,6})?"),
    "bitrate_bps": re.compile(r"[0-9]{1,12}"),
}
_lock = threading.Lock()


def check(metadata: Mapping[str, str]) -> dict[str, str]:
    """``metadata`` as a dict, if every entry is allowed.

    Raises:
        BadField: too many entries, or a key or value that is not allowed.
    """
    if len(metadata) > MAX_ENTRIES:
        raise BadField(f"metadata has {len(metadata)} entries; at most {MAX_ENTRIES} are kept", "metadata")
    for key, value in metadata.items():
        if not _KEY.fullmatch(key):
            raise BadField(f"metadata key {key[:80]!r} is not allowed; use letters, digits, . _ -", "metadata")
        if len(value) > MAX_LENGTH or not value.isprintable():
            raise BadField(f"metadata {key} must be printable, at most {MAX_LENGTH} characters", f"metadata[{key}]")
        if value and key in _NUMBERS and not _NUMBERS[key].fullmatch(value):
            raise BadField(
                f"metadata {key} is {value[:40]!r}, which is not a valid number for this key", f"metadata[{key}]"
            )
    return dict(metadata)


def read(folder: Path) -> dict[str, str]:
    """The metadata of the broadcast in ``folder``; empty if there is none, or its file is damaged."""
    try:
        found = parse_json((folder / FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def merge(folder: Path, metadata: Mapping[str, str]) -> dict[str, str]:
    """Add ``metadata`` to what is stored, replacing values; an empty value removes its key. Everything stored then.

    Raises:
        BadField: a key or value is not allowed, or there would be too many entries.
    """
    new = check(metadata)
    with _lock:
        kept = {key: value for key, value in (read(folder) | new).items() if value}
        check(kept)
        if new:
            replace_file(folder / FILE, json.dumps(kept).encode())
    return kept
