"""The short cells of changes, edit lists, packing and passthrough: a part of what ``test_matrix.py`` describes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.matrix.cell import Cell
from tests.matrix.cells import FILES
from tests.matrix.run import run_cell


@pytest.mark.parametrize("cell", [cell for cell in FILES if cell.short], ids=lambda cell: cell.name)
def test_cell(cell: Cell, tmp_path: Path) -> None:
    assert run_cell(cell, tmp_path) == []
