"""Sources of every kind, and what has to come out for them: a pick of the matrix; ``make matrix`` runs all of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.matrix.cell import Cell
from tests.matrix.cells import CELLS, COMMAND
from tests.matrix.run import run_cell


def test_cells_have_names_of_their_own() -> None:
    assert [name for name, count in Counter(cell.name for cell in CELLS).items() if count > 1] == []


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell.short], ids=lambda cell: cell.name)
def test_cell(cell: Cell, tmp_path: Path) -> None:
    assert run_cell(cell, tmp_path) == []


@pytest.mark.parametrize("cell", [cell for cell in COMMAND if cell.short], ids=lambda cell: cell.name)
def test_cell_by_command(cell: Cell, tmp_path: Path, prefect_api: str) -> None:
    assert run_cell(cell, tmp_path, prefect_api) == []
