"""A cell from its recipe to its faults."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from streamwave.errors import StreamWaveError
from tests.matrix.cell import Cell
from tests.matrix.cells import CELLS
from tests.matrix.measure import Outcome
from tests.matrix.pipeline import transcode

#: The longest that a cell may take; most take two seconds.
LIMIT_S = 40


def run_cell(cell: Cell, folder: Path) -> list[str]:
    """Make the source of ``cell``, transcode it, and measure what came out; its faults in words."""
    try:
        source = cell.recipe.make(folder / "source")
    except TimeoutError:
        raise
    except Exception as error:
        return [f"cannot be made: {type(error).__name__}: {error}"]
    try:
        made = transcode(source, folder, ladder=cell.ladder, segment_s=cell.segment_s)
    except StreamWaveError as error:
        return [f"{type(error).__name__}: {error}".replace(str(folder), "")]
    try:
        return Outcome(cell, made.root, made.filled).faults()
    except TimeoutError:
        raise
    except Exception as error:  # what cannot even be read is a fault like any other
        return [f"unreadable: {type(error).__name__}: {error}"]


def timed(name: str) -> tuple[list[str], float]:
    """The faults of the cell called ``name``, and how long it took in seconds. Runs in a process of the pool."""
    cell = next(cell for cell in CELLS if cell.name == name)
    begun = time.monotonic()
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(LIMIT_S)
    try:
        with TemporaryDirectory(prefix="matrix-") as folder:
            faults = run_cell(cell, Path(folder))
    except TimeoutError:
        faults = [f"takes longer than {LIMIT_S} s"]
    finally:
        signal.alarm(0)
    return faults, time.monotonic() - begun


def _too_long(_number: int, _frame: object) -> None:
    raise TimeoutError
