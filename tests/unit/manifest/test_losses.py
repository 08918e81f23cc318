"""Chunks that were not published as received are counted by kind."""

from __future__ import annotations

import pytest

from streamwave.manifest import losses as module
from streamwave.manifest.lines import ChunkLine
from streamwave.manifest.losses import Losses
from tests.unit.manifest.samples import usual


def line(number: int, *filled: str, damaged: bool = False) -> ChunkLine:
    return ChunkLine(number=number, segments={}, filled=filled, damaged=damaged)


def test_each_chunk_counts_once_for_each_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NAMED_CHUNKS", 2)
    losses, (period,) = Losses(), usual(ended=False).periods
    losses.count(line(0), period)
    losses.count(line(1, "720p", "360p"), period)
    losses.count(line(2, damaged=True), period)
    losses.count(line(3, "360p", "audio", damaged=True), period)
    losses.count(line(4, "audio"), period)
    assert losses == Losses(black_chunks=2, silent_chunks=2, damaged_chunks=2, filled_numbers=[1, 3])
