"""The list of broadcasts: written by one at a time, and nothing is left of how they take turns."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from streamwave.broadcasts import index
from streamwave.layout import ENTRY, INDEX
from streamwave.storage.store import open_store
from streamwave.util import locks


def test_the_list_is_made_of_the_entries_and_no_lock_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    root = open_store(str(tmp_path / "out"), {})
    for number in range(3):
        entry = {"state": "ended" if number else "deleted", "started_unix_ms": number}
        root.put(f"show/{number}/{ENTRY}", json.dumps(entry).encode())
    index.rebuild(root)
    listed = json.loads(root.get(INDEX) or b"")["broadcasts"]
    assert [entry["started_unix_ms"] for entry in listed] == [2, 1]
    assert list(temporary.iterdir()) == []


def test_whoever_holds_a_file_of_that_name_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the temporary folder other users may make it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    root = open_store(str(tmp_path / "out"), {})
    lock = locks.passing_lock

    def take(path: Path) -> AbstractContextManager[None]:
        (tmp_path / "names").write_text(path.name)
        return lock(path)

    monkeypatch.setattr(index, "passing_lock", take)
    index.rebuild(root)
    path = tmp_path / (tmp_path / "names").read_text()
    with path.open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        monkeypatch.setattr(Path, "lstat", lambda _: os.stat_result((0o100600, 0, 0, 1, 65534, 0, 0, 0, 0, 0)))
        index.rebuild(root)
    assert path.exists()
