"""The processing service runs the janitor regularly, and continues after a failed round."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from services.processing import rounds
from streamwave.config.settings import Settings
from streamwave.errors import OutputError
from streamwave.retention import janitor
from streamwave.storage.store import LocalStore
from tests.support.processes import wait_for


def half_deleted(root: Path, path: str) -> None:
    """Create what an interrupted deletion leaves behind."""
    store = LocalStore(root / path)
    store.put("p0/large/0.m4s", b"media")
    # Last: from here on the janitor takes it.
    store.put("broadcast.json", json.dumps({"state": "deleted", "started_unix_ms": 1}).encode())


def gone(path: Path) -> Callable[[], bool]:
    return lambda: not path.exists()


def test_rounds_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(rounds, "FIRST_S", 0.05)
    monkeypatch.setattr(rounds, "ROUND_S", 0.05)
    out, clean, begun = tmp_path / "out", janitor.clean_unattended, itertools.count()

    def fails_at_first(settings: Settings) -> object:
        if next(begun) == 0:
            raise OutputError("away")
        return clean(settings)

    monkeypatch.setattr(janitor, "clean_unattended", fails_at_first)
    settings = Settings.load(env_file=None, state_dir=tmp_path / "state", output_dir=str(out))
    running = rounds.Rounds(settings)
    running.start()
    try:
        wait_for(lambda: "the janitor stopped early" in caplog.text and "away" in caplog.text, "a round that fails")
        for number in range(2):
            path = f"stage/20260101-000000-000{number}"
            half_deleted(out, path)
            wait_for(gone(out / path), "the janitor")
    finally:
        running.stop()
    running._thread.join(60)
    assert not running._thread.is_alive()
