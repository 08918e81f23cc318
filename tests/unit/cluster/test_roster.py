"""What a run concludes from what the scheduler says of its workers."""

from __future__ import annotations

from typing import Any

import pytest

from streamwave.cluster.roster import BLAMED, SILENT_S, SUBMITTED, Roster

OURS, OTHER = "encoder-a", "encoder-b"


def told(**beats: float) -> dict[str, Any]:
    """Workers at tcp://NAME, by name and time of the last heartbeat; those that begin with x have another encoder."""
    return {
        f"tcp://{name}": {"name": name, "last_seen": beat, "resources": {OTHER if name[0] == "x" else OURS: 1.0}}
        for name, beat in beats.items()
    }


@pytest.fixture
def roster() -> Roster:
    return Roster("tcp://scheduler:1", OURS)


def test_a_chunk_at_a_silent_worker_is_lost_if_another_one_can_take_it(roster: Roster) -> None:
    at = {"tcp://a": ["chunk-1"], "tcp://b": []}
    roster.update(told(a=5.0, b=5.0), at, 100.0)
    roster.update(told(a=5.0, b=8.0), at, 100.0 + SILENT_S)
    assert not roster.is_lost("chunk-1")
    roster.update(told(a=5.0, b=8.5), at, 100.5 + SILENT_S)
    assert roster.is_lost("chunk-1")
    assert not roster.is_lost("chunk-2")
    assert roster.usable(1, "chunk-3") == ["tcp://b"]
    # It is back.
    roster.update(told(a=9.0, b=9.0), at, 101.0 + SILENT_S)
    assert not roster.is_lost("chunk-1")
    assert roster.usable(1, "chunk-4") is None


def test_if_all_are_silent_it_is_this_machine_that_is_cut_off(roster: Roster) -> None:
    at = {"tcp://a": ["chunk-1"], "tcp://b": []}
    roster.update(told(a=5.0, b=5.0), at, 100.0)
    roster.update(told(a=5.0, b=5.0), at, 200.0)
    assert not roster.is_lost("chunk-1")


def test_a_chunk_goes_to_a_worker_that_has_not_failed_at_it(roster: Roster) -> None:
    roster.update(told(a=5.0, b=5.0), {}, 100.0)
    assert roster.blame(1, "a")
    assert (roster.usable(1, "one"), roster.usable(2, "two")) == (["tcp://b"], None)
    # If b goes, it may have another one.
    roster.update(told(a=6.0), {}, 101.0)
    assert roster.is_lost("one")
    assert not roster.is_lost("two")
    roster.forget("one")
    assert not roster.is_lost("one")
    assert not roster.blame(1, "b")
    assert roster.usable(1, "three") is None
    roster.update(told(a=7.0, c=7.0), {}, 102.0)
    assert roster.usable(1, "four") == ["tcp://c"]


def test_only_the_newest_failures_are_remembered(roster: Roster) -> None:
    roster.update(told(a=5.0, b=5.0), {}, 100.0)
    for chunk in range(BLAMED + 1):
        assert roster.blame(chunk, "a")
    assert (roster.usable(0, "old"), roster.usable(1, "new")) == (None, ["tcp://b"])


def test_a_chunk_is_more_urgent_each_time_it_is_submitted(roster: Roster) -> None:
    assert [roster.submitted(number) for number in (7, 8, 7, 7, 8)] == [0, 0, 1, 2, 1]
    for number in range(100, 100 + SUBMITTED):
        assert roster.submitted(number) == 0
    assert roster.submitted(7) == 0


def test_news_are_told_once(roster: Roster) -> None:
    (first,) = roster.unreached()
    assert "does not answer" in first
    assert roster.unreached() == []
    assert roster.reached() == ["the scheduler tcp://scheduler:1 answers again"]
    assert roster.reached() == []
    (none,) = roster.update({}, {}, 100.0)
    assert "has no worker that this run can use" in none
    others, _ = Roster("tcp://scheduler:1", OURS).update(told(x1=1.0, x2=1.0), {}, 100.0)
    assert others == (
        "workers that have another FFmpeg or another version of StreamWave than this run are not used: x1, x2"
    )
    assert roster.update(told(a=1.0), {}, 101.0) == []
