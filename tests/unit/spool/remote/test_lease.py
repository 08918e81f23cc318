"""The lease: one run at a time, and a run that is replaced learns of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamwave.spool.remote import lease as module
from streamwave.spool.remote.lease import RunLease
from streamwave.spool.remote.objects import RUN, RunRecord
from streamwave.storage.store import LocalStore
from tests.support.processes import wait_for


class Progress:
    """A run that has published two chunks."""

    def __init__(self) -> None:
        self.done = {"000000": 2}
        self.forgotten = 0

    def note(self) -> None:
        pass

    def forget(self) -> None:
        self.forgotten += 1


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_S", 0.02)
    monkeypatch.setattr(module, "TAKEOVER_S", 0.5)


def lease(store: LocalStore, token: str) -> RunLease:
    return RunLease(store, token, "show/one", twin=None)


def test_a_run_that_gives_heartbeats_keeps_its_lease(tmp_path: Path) -> None:
    store, progress = LocalStore(tmp_path), Progress()
    first = lease(store, "first")
    assert first.take()
    first.keep(progress, lambda: {"state": "live"})
    try:
        assert first.begun
        wait_for(lambda: progress.forgotten > 1, "two heartbeats", 10)
        assert not lease(store, "second").take()
    finally:
        first.stop()
    word = first.read()
    assert word is not None and word.beat > 1 and word.done == {"000000": 2} and word.status == {"state": "live"}
    # Without heartbeats it is taken over, and the new run knows how far the first one was.
    second = lease(store, "second")
    assert second.take() and second.done == {"000000": 2}


def test_a_run_that_is_replaced_learns_of_it_and_writes_no_more(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    first = lease(store, "first")
    assert first.take()
    store.put(RUN, RunRecord(token="second").model_dump_json().encode())
    first.keep(Progress(), dict)
    wait_for(lambda: first.replaced, "the first run to notice", 10)
    first.stop()
    first.end({})
    assert first.read() == RunRecord(token="second")


def test_a_run_that_has_ended_is_replaced_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path)
    first = lease(store, "first")
    assert first.take()
    first.keep(Progress(), dict)
    first.stop()
    first.end({"state": "ended"})
    word = first.read()
    assert word is not None and word.ended and word.status == {"state": "ended"}
    monkeypatch.setattr(module, "TAKEOVER_S", 600)
    assert lease(store, "second").take()
