"""Names for shell completion, taken from the local database and local folders only, because a key press waits for them.

Contacts no store, starts no server and writes nothing. A source of names that cannot be read offers none.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from itertools import islice
from pathlib import Path

from streamwave.config.settings import Settings
from streamwave.layout import ENTRY, MANIFEST

#: Limit of names offered and of folders read; more than a shell would show.
MOST = 500


def stream_names(incomplete: str) -> list[str]:
    """Streams whose names begin with ``incomplete``."""
    try:
        from sqlalchemy import make_url  # half of the time that a command takes to load

        url = make_url(Settings.load().database_url.get_secret_value())
        if not url.drivername.startswith("sqlite") or not url.database:
            return []
        file = Path(url.database).resolve().as_uri()
        with closing(sqlite3.connect(f"{file}?mode=ro", uri=True, timeout=0.2)) as database:
            names = [str(name) for (name,) in database.execute("SELECT name FROM streams ORDER BY name")]
    except Exception:  # completion must not print errors
        return []
    return [name for name in names if name.startswith(incomplete)][:MOST]


def broadcast_names(incomplete: str) -> list[str]:
    """Broadcasts in local outputs whose names (stream/broadcast) begin with ``incomplete``; the latest first."""
    found: set[str] = set()
    try:
        for target in Settings.load().outputs:
            if target.is_local:
                found |= _in_folder(Path(target.url), incomplete)
    except Exception:
        return []
    return sorted(found, reverse=True)[:MOST]


def _in_folder(root: Path, incomplete: str) -> set[str]:
    stream, slash, _ = incomplete.partition("/")
    found = set()
    for folder in _folders(root):
        if not (folder.name == stream if slash else folder.name.startswith(stream)):
            continue
        if (folder / MANIFEST).is_file() and folder.name.startswith(incomplete):
            found.add(folder.name)
        for inner in _folders(folder):
            name = f"{folder.name}/{inner.name}"
            if name.startswith(incomplete) and ((inner / ENTRY).is_file() or (inner / MANIFEST).is_file()):
                found.add(name)
    return found


def _folders(root: Path) -> list[Path]:
    try:
        with os.scandir(root) as entries:
            return [Path(one.path) for one in islice(entries, MOST) if one.is_dir(follow_symlinks=False)]
    except OSError:
        return []
