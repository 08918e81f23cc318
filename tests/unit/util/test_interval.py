"""An interval is due at once, and then only after it has passed since it was last due."""

from __future__ import annotations

from streamwave.util.interval import Interval


def test_due_once_per_interval() -> None:
    now = 100.0
    interval = Interval(2.0, lambda: now)
    seen = []
    for now in (100.0, 101.0, 101.9, 102.0, 103.5, 105.5, 105.5):  # noqa: B007  # the clock reads it
        seen.append(interval.due())
    assert seen == [True, False, False, True, False, True, False]
