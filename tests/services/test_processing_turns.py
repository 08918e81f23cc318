"""Which broadcasts get a run now: see also ``next_starts`` in test_processing_access.py."""

from __future__ import annotations

from services.processing.turns import one_each, turns
from services.processing.watch import Watch


def stuck(waiting_since: float | None = None, started_at: float | None = None) -> Watch:
    """A broadcast whose runs fail and which nobody publishes any more."""
    return Watch(receiving=False, failures=1, waiting_since=waiting_since, started_at=started_at)


def stream_of(name: str) -> str:
    return name.partition("/")[0]


def test_a_stream_gets_a_run_for_what_is_received_and_one_for_what_was() -> None:
    waiting = {
        "cam/1": Watch(receiving=False),
        "cam/2": Watch(receiving=False),
        "cam/3": Watch(),
        "other/1": Watch(),
    }
    assert list(one_each(waiting, [], stream_of)) == ["cam/1", "cam/3", "other/1"]
    running = [("cam", Watch(started_at=1.0)), ("other", Watch(receiving=False, alive_since=1.0))]
    assert list(one_each(waiting, running, stream_of)) == ["cam/1", "other/1"]


def test_a_stuck_broadcast_keeps_no_other_waiting() -> None:
    running = [("cam", stuck(started_at=1.0))]
    assert turns({"cam/2": Watch(), "cam/3": Watch(receiving=False)}, running, stream_of, 5) == ["cam/2", "cam/3"]


def test_stuck_broadcasts_come_last_and_one_at_a_time() -> None:
    waiting = {"a/1": stuck(waiting_since=1.0), "b/1": stuck(waiting_since=2.0), "c/1": Watch(waiting_since=3.0)}
    assert turns(waiting, [], stream_of, 5) == ["c/1", "a/1"]
    assert turns(waiting, [("d", stuck(started_at=1.0))], stream_of, 5) == ["c/1"]


def test_no_slot_no_start() -> None:
    assert turns({"a/1": Watch()}, [], stream_of, 0) == turns({"a/1": Watch()}, [], stream_of, -1) == []
