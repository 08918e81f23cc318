"""A ledger's parts: bounded objects at a store, of which the earlier ones can be replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamwave.errors import OutputError
from streamwave.layout import ledger_name
from streamwave.manifest import parts as module
from streamwave.manifest.lines import ChunkLine, InfoLine
from streamwave.manifest.parts import LedgerParts
from streamwave.storage.store import LocalStore


def filled(root: Path, *lines: ChunkLine | InfoLine) -> LedgerParts:
    """Parts at ``root`` that hold ``lines``, the last part saved like those before it."""
    parts = LedgerParts(LocalStore(root))
    for line in lines:
        if parts.is_full and isinstance(line, ChunkLine):
            parts.save()
            parts.begin(parts.current + 1)
        parts.add(line.model_dump_json(), line)
    parts.save()
    return parts


def chunks(count: int, size: int = 1000) -> list[ChunkLine]:
    return [ChunkLine(number=number, segments={"360p": ((number * 10, 10, size),)}) for number in range(count)]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PART_CHUNKS", 2)


def test_only_chunks_fill_a_part(tmp_path: Path) -> None:
    info = InfoLine(info={"title": "x"})
    parts = filled(tmp_path, *chunks(2), info, info)
    assert parts.is_full and parts.names == [ledger_name(0)]
    assert filled(tmp_path, *chunks(5)).names == [ledger_name(number) for number in range(3)]


def test_the_earlier_parts_are_replaced(tmp_path: Path) -> None:
    parts = filled(tmp_path, *chunks(7))
    assert parts.replaced == [ledger_name(1), ledger_name(2)]
    parts.replace_earlier("header", "state")
    assert parts.store.get(ledger_name(0)) == b"header\nstate\n"
    assert parts.first == parts.current == 3 and parts.replaced == []


def test_a_ledger_that_moves_continues_in_a_part_that_nobody_has_written(tmp_path: Path) -> None:
    longer, shorter = filled(tmp_path / "a", *chunks(7)), filled(tmp_path / "b", *chunks(3))
    assert longer.move_to(shorter) == [ledger_name(1)]
    assert longer.store is shorter.store and longer.first == longer.current == 4


def test_the_lines_that_another_output_has_beyond_ours(tmp_path: Path) -> None:
    mine = filled(tmp_path / "a", *chunks(1))
    other = filled(tmp_path / "b", *chunks(5, size=999))  # another encode of the same chunks
    assert mine.lines_after(other.store) == chunks(2, size=999)[1:]
    assert filled(tmp_path / "c", *chunks(2)).lines_after(other.store) == chunks(4, size=999)[2:]
    assert other.lines_after(mine.store) == [] == mine.lines_after(LocalStore(tmp_path / "none"))


def test_different_broadcasts_are_not_mixed(tmp_path: Path) -> None:
    mine = filled(tmp_path / "a", *chunks(2))
    moved = [ChunkLine(number=number, segments={"360p": ((number * 11, 11, 1000),)}) for number in range(3)]
    with pytest.raises(OutputError, match="hold different broadcasts; remove one"):
        mine.lines_after(filled(tmp_path / "b", *moved).store)
