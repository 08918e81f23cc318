"""When a chunk is divided between two workers, and when it stays whole."""

from __future__ import annotations

import dataclasses

import pytest

from streamwave.cluster.splitting import CALM_CHUNKS, HOLD_S, SLOW, Splitting, pays
from streamwave.ffmpeg.meter import Slots

IDLE = Slots("tcp://scheduler:1", workers=4, slots=4, busy=2, idle_workers=2)
FULL = dataclasses.replace(IDLE, busy=4, idle_workers=0, queued=1)


@pytest.mark.parametrize(
    ("slots", "encode_s", "due"),
    [
        (IDLE, 2 * SLOW + 0.1, True),
        (IDLE, 2 * SLOW, False),  # it is fast enough
        (dataclasses.replace(IDLE, busy=3, idle_workers=1), 9.0, False),
        (dataclasses.replace(IDLE, workers=1, idle_workers=1), 9.0, False),  # one machine with two free slots
        (dataclasses.replace(IDLE, queued=1), 9.0, False),
        (FULL, 9.0, False),
    ],
)
def test_it_pays_if_slow_workers_are_idle_and_nothing_waits(slots: Slots, encode_s: float, due: bool) -> None:
    assert pays(slots, encode_s, 2.0) is due


def test_it_begins_after_a_calm_time_and_rests_after_it_was_in_the_way() -> None:
    now = [1000.0]
    mine = Splitting(lambda: now[0])
    assert not mine.next(IDLE, 2.0)  # nothing is known yet
    mine.took(2.0, 6.0)
    assert [mine.next(IDLE, 2.0) for _ in range(CALM_CHUNKS + 2)] == [False] * CALM_CHUNKS + [True, True]
    mine.took(2.0, 7.2)  # the sum of both halves
    assert mine.next(IDLE, 2.0)
    assert not mine.next(FULL, 2.0)
    now[0] += HOLD_S - 0.1
    assert [mine.next(IDLE, 2.0) for _ in range(CALM_CHUNKS + 1)] == [False] * (CALM_CHUNKS + 1)
    now[0] += 0.2
    assert [mine.next(IDLE, 2.0) for _ in range(CALM_CHUNKS + 1)] == [False] * CALM_CHUNKS + [True]
    # That workers are busy without a queue ends it, too, but not for long.
    assert not mine.next(dataclasses.replace(FULL, queued=0), 2.0)
    assert [mine.next(IDLE, 2.0) for _ in range(CALM_CHUNKS + 1)] == [False] * CALM_CHUNKS + [True]
    mine.took(2.0, 2.0)  # the source has become easier
    assert not mine.next(IDLE, 2.0)
