"""``python -m tests.matrix [part of a name ...]``: all cells, or those with that in their names, with a table as result."""

from __future__ import annotations

import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed

from tests.matrix.cell import Cell
from tests.matrix.cells import CELLS
from tests.matrix.run import timed


def main(wanted: list[str]) -> int:
    """Run the cells, print how each went and a table of all; the exit code."""
    cells = [cell for cell in CELLS if not wanted or any(word in f"{cell.group}: {cell.name}" for word in wanted)]
    results: dict[str, list[str]] = {}
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1), multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(timed, cell.name): cell for cell in cells}
        for future in as_completed(futures):
            faults, seconds = future.result()
            _tell(futures[future], faults, seconds, f"{len(results) + 1:3}/{len(cells)}")
            results[futures[future].name] = faults
    _table(cells, results)
    return 1 if any(results.values()) else 0


def _tell(cell: Cell, faults: list[str], seconds: float, place: str) -> None:
    print(f"{place} {seconds:5.1f} s  {'FAIL' if faults else 'ok  '} {cell.group}: {cell.name}", flush=True)
    for fault in faults:
        print(f"{'':19} {fault}", flush=True)


def _table(cells: list[Cell], results: dict[str, list[str]]) -> None:
    print(f"\n{'group':<12} {'cell':<55} result")
    for cell in cells:
        faults = results[cell.name]
        print(f"{cell.group:<12} {cell.name:<55} {faults[0] if faults else 'exact'}")
    print(f"\n{sum(1 for cell in cells if not results[cell.name])} of {len(cells)} cells are exact")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
