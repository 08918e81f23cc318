"""``python -m tests.matrix [part of a name ...]``: run all cells, or those whose names match, and print a table of results.

Files come first, two at a time; then live publishes, a few streams at a time in one installation.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from flows.server import prefect_server
from tests.e2e.browser import PlayerHarness, open_harness
from tests.matrix.cell import SMALL_LADDER, Cell
from tests.matrix.cells import CELLS, COMMAND
from tests.matrix.cells_live import LIVE
from tests.matrix.cells_passthrough import LADDER, PASSED_LIVE
from tests.matrix.live import LiveCell, publish
from tests.matrix.run import run_cell, run_named
from tests.support.live import installation
from tests.support.prefect_api import AUTH

#: Concurrent live publishes: as many as two cores can handle, together with a browser that plays their recordings.
AT_ONCE = 4


def main(wanted: list[str]) -> int:
    """Run the cells, print the result of each and a table of all. Returns the exit code."""

    def asked(cell: Cell) -> bool:
        return not wanted or any(word in f"{cell.group}: {cell.name}" for word in wanted)

    begun = time.monotonic()
    files = [cell for cell in CELLS if asked(cell)]
    live, passed = ([one for one in cells if asked(one.cell)] for cells in (LIVE, PASSED_LIVE))
    commands = [cell for cell in COMMAND if asked(cell)]
    cells = [*files, *(_by_command(cell) for cell in commands), *(one.cell for one in (*live, *passed))]
    results: dict[str, list[str]] = {}
    for cell, faults in chain(_files(files), _with_prefect(commands, live, passed)):
        results[cell.name] = faults
        print(
            f"{len(results):3}/{len(cells)} {time.monotonic() - begun:6.1f} s  {'FAIL' if faults else 'ok  '} {cell.name}",
            *(f"{'':23}{fault}" for fault in faults),
            sep="\n",
            flush=True,
        )
    print(f"\n{'group':<12} {'cell':<55} result")
    for cell in cells:
        print(f"{cell.group:<12} {cell.name:<55} {(results[cell.name] or ['exact'])[0][:160]}")
    exact = sum(1 for faults in results.values() if not faults)
    print(f"\n{exact} of {len(cells)} cells are exact, after {time.monotonic() - begun:.0f} s")
    return 0 if exact == len(cells) else 1


def _files(cells: Sequence[Cell]) -> Iterator[tuple[Cell, list[str]]]:
    """Yield each cell with its faults, in order of completion."""
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1), multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(run_named, cell.name): cell for cell in cells}
        for future in as_completed(futures):
            yield futures[future], future.result()


def _by_command(cell: Cell) -> Cell:
    return replace(cell, name=f"by command: {cell.name}")


def _with_prefect(
    commands: Sequence[Cell], live: Sequence[LiveCell], passed: Sequence[LiveCell]
) -> Iterator[tuple[Cell, list[str]]]:
    """The same for cells transcoded by the command line and for live cells, some of them with passthrough."""
    if not commands and not live and not passed:
        return
    with TemporaryDirectory(prefix="matrix-") as name:
        folders = {part: Path(name) / part for part in ("prefect", "commands", "empty")}
        for folder in folders.values():
            folder.mkdir()
        with prefect_server(folders["prefect"], AUTH) as url:
            for number, cell in enumerate(commands):
                folder = folders["commands"] / str(number)
                folder.mkdir()
                yield _by_command(cell), run_cell(cell, folder, url)
        with open_harness(folders["empty"]) as harness:
            for cells, settings in (
                (live, {"STREAMWAVE_LADDER": SMALL_LADDER, "STREAMWAVE_PASSTHROUGH": "never"}),
                (passed, {"STREAMWAVE_LADDER": LADDER, "STREAMWAVE_PASSTHROUGH": "auto"}),
            ):
                yield from _published(
                    Path(name) / settings["STREAMWAVE_PASSTHROUGH"], folders["prefect"], harness, cells, settings
                )


def _published(
    folder: Path, prefect_home: Path, harness: PlayerHarness, cells: Sequence[LiveCell], settings: dict[str, str]
) -> Iterator[tuple[Cell, list[str]]]:
    """The same for live cells published in one installation with ``settings``."""
    if not cells:
        return
    (folder / "live").mkdir(parents=True)
    (folder / "sources").mkdir()
    with installation(folder / "live", prefect_home, **settings) as running:
        for first in range(0, len(cells), AT_ONCE):
            batch = cells[first : first + AT_ONCE]
            found = publish(running, harness, batch, folder / "sources")
            yield from ((one.cell, found[one.cell.name]) for one in batch)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
