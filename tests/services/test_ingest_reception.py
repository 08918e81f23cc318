"""What follows a segmenter that exits while its publisher is still connected."""

from __future__ import annotations

import pytest

from services.ingest.reception import REVIVE_MS, Successor, successor
from streamwave.spool.journal import OTHER_KIND, EndRecord


def end(reason: str) -> EndRecord:
    return EndRecord(reason=reason, error=None, ended_unix_ms=1)


def test_a_killed_segmenter_is_replaced() -> None:
    assert successor(None, REVIVE_MS) is Successor.SESSION


def test_one_that_dies_at_once_is_not_replaced() -> None:
    assert successor(None, REVIVE_MS - 1) is Successor.NONE


@pytest.mark.parametrize("reason", OTHER_KIND)
def test_video_that_begins_or_ends_needs_another_broadcast(reason: str) -> None:
    assert successor(end(reason), 0) is Successor.BROADCAST


@pytest.mark.parametrize("reason", ["end of stream", "cut off", "segmenter failed"])
def test_any_other_end_is_final(reason: str) -> None:
    assert successor(end(reason), 10 * REVIVE_MS) is Successor.NONE
