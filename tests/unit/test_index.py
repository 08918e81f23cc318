"""The list of broadcasts: written by one at a time, and nothing is left of how they take turns."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from streamwave import index
from streamwave.layout import ENTRY, INDEX
from streamwave.storage.store import open_store


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
