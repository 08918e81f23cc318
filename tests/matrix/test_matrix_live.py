"""Sources that are published live, and played: a pick of the matrix; ``make matrix`` runs all of it."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.browser import open_harness
from tests.matrix.cell import SMALL_LADDER
from tests.matrix.cells_live import LIVE
from tests.matrix.live import publish
from tests.support.live import installation


def test_cells_that_are_published_at_the_same_time(tmp_path: Path, prefect_api: str, prefect_home: Path) -> None:
    folders = [tmp_path / name for name in ("live", "empty", "sources")]
    for folder in folders:
        folder.mkdir()
    with (
        installation(folders[0], prefect_home, STREAMWAVE_LADDER=SMALL_LADDER) as running,
        open_harness(folders[1]) as harness,
    ):
        found = publish(running, harness, [cell for cell in LIVE if cell.short], folders[2])
    assert found == {name: [] for name in found}
