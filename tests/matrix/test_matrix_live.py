"""Sources that are published live and played: a selection of the matrix; ``make matrix`` runs all of it."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.browser import open_harness
from tests.matrix.cell import SMALL_LADDER
from tests.matrix.cells_live import LIVE
from tests.matrix.cells_passthrough import LADDER, PASSED_LIVE
from tests.matrix.live import LiveCell, publish
from tests.support.live import installation


def publish_short(cells: list[LiveCell], tmp_path: Path, prefect_home: Path, **settings: str) -> dict[str, list[str]]:
    """Publish the short cells concurrently. Returns the faults by name."""
    folders = [tmp_path / name for name in ("live", "empty", "sources")]
    for folder in folders:
        folder.mkdir()
    with installation(folders[0], prefect_home, **settings) as running, open_harness(folders[1]) as harness:
        return publish(running, harness, [cell for cell in cells if cell.short], folders[2])


def test_cells_that_are_published_at_the_same_time(tmp_path: Path, prefect_api: str, prefect_home: Path) -> None:
    found = publish_short(
        LIVE, tmp_path, prefect_home,
        STREAMWAVE_LADDER=SMALL_LADDER, STREAMWAVE_PASSTHROUGH="never", PREFECT_API_URL=prefect_api,
    )  # fmt: skip
    assert found == {name: [] for name in found}


def test_cells_whose_own_pictures_are_shown(tmp_path: Path, prefect_api: str, prefect_home: Path) -> None:
    found = publish_short(
        PASSED_LIVE, tmp_path, prefect_home,
        STREAMWAVE_LADDER=LADDER, STREAMWAVE_PASSTHROUGH="auto", PREFECT_API_URL=prefect_api,
    )  # fmt: skip
    assert found == {name: [] for name in found}
