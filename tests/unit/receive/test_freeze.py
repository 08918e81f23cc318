"""When the last picture is frozen, and the chunks that show it."""

from __future__ import annotations

from collections import deque
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from streamwave.receive import freeze as module
from streamwave.receive.freeze import PICTURES_AWAITED_MS, Freeze


class Opened(SimpleNamespace):
    """An open chunk."""

    def close(self) -> int:
        return 1000

    def put_off(self, number: int, start_ms: int) -> None:
        self.number, self.start_ms = number, start_ms


def opened(folder: Path, **changes: Any) -> Any:
    path = folder / "000000.mkv"
    path.write_bytes(b"x" * 1000)
    values = {"number": 0, "path": path, "start_ms": 0, "key_ms": 0, "end_ms": 2000, "later_ms": 0, "lead": 0,
              "starts_ms": [0, 1960], "hides_more": False}  # fmt: skip
    return Opened(**(values | changes))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> tuple[Freeze, Any, Any]:
    """A freeze of chunks of 2 s at 25 pictures a second; where its chunks go; its numbers from 1 on."""
    monkeypatch.setattr(module, "PICTURES_UNSEEN_S", 0.0)
    numbers = iter(range(1, 100))
    closed = SimpleNamespace(
        closing=deque(), quota=SimpleNamespace(add=lambda size: None), options=SimpleNamespace(segment_ms=2000),
        rate_with=lambda chunk: Fraction(25), end_ms=lambda chunk: max(chunk.starts_ms) + 40,
    )  # fmt: skip
    files, room = SimpleNamespace(take=lambda: next(numbers)), SimpleNamespace(wait=lambda: None)
    return Freeze(cast(Any, closed), cast(Any, files), cast(Any, room)), closed, files


def frozen(closed: Any) -> list[tuple[int, int, int]]:
    """(number, from, until) of the chunks of a frozen picture."""
    return [(chunk.number, chunk.start_ms, until_ms) for chunk, until_ms, _ in closed.closing if hasattr(chunk, "held")]


def test_it_is_due_when_no_picture_has_come_for_long(made: tuple[Freeze, Any, Any], tmp_path: Path) -> None:
    freeze, _, _ = made
    late_ms = 2000 + PICTURES_AWAITED_MS
    assert freeze.is_due(opened(tmp_path), late_ms) and not freeze.is_due(opened(tmp_path), late_ms - 1)
    assert not freeze.is_due(opened(tmp_path, starts_ms=[]), late_ms)
    # A chunk that copied 20 s since the keyframe has to be half as long.
    assert not freeze.is_due(opened(tmp_path, key_ms=-20_000), late_ms)


def test_while_pictures_come_it_is_not_due(
    made: tuple[Freeze, Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    freeze, _, _ = made
    monkeypatch.setattr(module, "PICTURES_UNSEEN_S", 600.0)
    freeze.seen()
    assert not freeze.is_due(opened(tmp_path), 60_000)


def test_chunks_of_the_usual_length_follow_the_audio(made: tuple[Freeze, Any, Any], tmp_path: Path) -> None:
    freeze, closed, _ = made
    picture = freeze.begin(opened(tmp_path), 2000)
    assert picture.until_ms == 2000 and picture.path.exists()
    freeze.follow(7000, None)
    assert frozen(closed) == [(1, 2000, 4000), (2, 4000, 6000)]
    freeze.end_at(8600, None)
    assert frozen(closed)[2:] == [(3, 6000, 8600)], "none is much shorter than usual"
    assert freeze.picture is None and not picture.path.exists()


def test_a_chunk_of_late_pictures_goes_behind_those_of_the_frozen_one(
    made: tuple[Freeze, Any, Any], tmp_path: Path
) -> None:
    freeze, closed, files = made
    picture = freeze.begin(opened(tmp_path), 2000)
    late = opened(tmp_path, number=files.take(), starts_ms=[])
    freeze.extend(picture, 4000, late)
    assert frozen(closed) == [(1, 2000, 4000)] and (late.number, late.start_ms) == (2, 4000)


def test_a_chunk_that_goes_on_with_hidden_pictures_ends_with_its_last_shown_one(
    made: tuple[Freeze, Any, Any], tmp_path: Path
) -> None:
    freeze, _, _ = made
    assert freeze.begin(opened(tmp_path, hides_more=True), 5000).until_ms == 2000
    assert freeze.begin(opened(tmp_path), 5000).until_ms == 5000
