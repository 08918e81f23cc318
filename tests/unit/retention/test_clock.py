"""Recordings are deleted for their age only by a clock that has been steady for a day."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamwave.config.settings import Settings
from streamwave.retention.clock import DAY_MS, NOTE, days_to_keep
from streamwave.retention.janitor import clean_unattended

HOUR_MS, NOW_MS, DAYS = 3_600_000, 1_800_000_000_000, 30


def rounds(state: Path, first_ms: int, count: int, every_ms: int = HOUR_MS) -> list[int]:
    return [days_to_keep(state, DAYS, first_ms + n * every_ms) for n in range(count)]


def test_the_first_day_takes_nothing(tmp_path: Path) -> None:
    assert rounds(tmp_path / "state", NOW_MS, 48) == [0] * 24 + [DAYS] * 24


@pytest.mark.parametrize("jump_ms", [10 * 365 * DAY_MS, 16 * DAY_MS, -HOUR_MS * 30, -10 * 365 * DAY_MS])
def test_after_a_jump_a_day_has_to_pass(tmp_path: Path, jump_ms: int) -> None:
    rounds(tmp_path, NOW_MS, 30)
    after_ms = NOW_MS + 30 * HOUR_MS + jump_ms
    assert rounds(tmp_path, after_ms, 26) == [0] * 24 + [DAYS] * 2
    if abs(jump_ms) > 15 * DAY_MS:  # and once more where the clock is put right
        assert rounds(tmp_path, NOW_MS + 60 * HOUR_MS, 1) == [0]


def test_a_machine_that_is_on_once_a_week_cleans(tmp_path: Path) -> None:
    assert rounds(tmp_path, NOW_MS, 3, every_ms=7 * DAY_MS) == [0, DAYS, DAYS]


@pytest.mark.parametrize("note", [b"", b"{}", b"[]", b'{"seen_unix_ms": "x", "steady_unix_ms": 0}', b"\xff"])
def test_a_damaged_note_is_that_of_a_new_clock(tmp_path: Path, note: bytes) -> None:
    (tmp_path / NOTE).write_bytes(note)
    assert rounds(tmp_path, NOW_MS, 25) == [0] * 24 + [DAYS]


def test_who_keeps_all_recordings_has_no_note(tmp_path: Path) -> None:
    assert days_to_keep(tmp_path, 0, NOW_MS) == 0 and not (tmp_path / NOTE).exists()


def test_who_cleans_by_itself_asks(tmp_path: Path) -> None:
    settings = Settings.load(
        env_file=None, state_dir=tmp_path / "state", output_dir=str(tmp_path / "out"), recordings_days=DAYS
    )
    clean_unattended(settings)
    assert (settings.state_dir / NOTE).exists()
