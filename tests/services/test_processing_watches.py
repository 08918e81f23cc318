"""The watches of all broadcasts: what counts as active, and what happens when a broadcast goes."""

from __future__ import annotations

import threading
from pathlib import Path

from services.processing.watch import Watches

CAM, OTHER = Path("spool/cam/1"), Path("spool/other/1")


def test_each_broadcast_has_one_watch() -> None:
    watches = Watches()
    assert watches.known(CAM) is None
    assert watches.of(CAM) is watches.of(CAM) is watches.known(CAM)
    assert [stream for stream, _watch in watches.by_stream()] == ["cam"]


def test_active_counts_runs_but_not_those_of_stuck_broadcasts() -> None:
    watches = Watches()
    cam, other = watches.of(CAM), watches.of(OTHER)
    assert (watches.active, watches.starting) == (0, 0)
    cam.started_at = 1.0
    assert (watches.active, watches.starting) == (1, 1)
    cam.alive()
    other.started_at, other.failures, other.receiving = 1.0, 1, False
    assert (watches.active, watches.starting) == (1, 1)


def test_who_waits_for_a_broadcast_that_goes_is_woken() -> None:
    watches = Watches()
    watch, woken = watches.of(CAM), threading.Event()
    ready = threading.Event()

    def wait() -> None:
        with watch.changed:
            ready.set()
            if watch.changed.wait(60):
                woken.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert ready.wait(60)
    watches.keep([OTHER])
    thread.join(60)
    assert woken.is_set()
    assert watches.known(CAM) is None
