"""Runs a cell: from its recipe to its faults."""

from __future__ import annotations

import signal
from pathlib import Path
from tempfile import TemporaryDirectory

from streamwave.errors import StreamWaveError
from streamwave.pipeline.vod import NOTED
from tests.matrix.cell import Cell
from tests.matrix.cells import CELLS
from tests.matrix.measure import Outcome
from tests.matrix.pipeline import transcode
from tests.support.cli import Cli

#: Time-out of a cell; most take two seconds.
LIMIT_S = 180


class CommandFailed(Exception):
    """``streamwave transcode`` failed."""


def run_cell(cell: Cell, folder: Path, prefect_api: str | None = None) -> list[str]:
    """Make the source of ``cell``, transcode it, and check the result. Returns the faults as sentences.

    With the URL of a Prefect server, the command line transcodes it; without one, the library in this process.
    """
    try:
        source = cell.recipe.make(folder / "source")
    except TimeoutError:
        raise
    except Exception as error:
        return [f"cannot be made: {type(error).__name__}: {error}"]
    damaged: int | None = None  # the command prints sentences, also for advice
    advice: frozenset[str] | None = None
    try:
        if prefect_api is None:
            made = transcode(
                source,
                folder,
                ladder=cell.ladder,
                segment_s=cell.segment_s,
                audio_track=cell.audio_track,
                passthrough=cell.passthrough,
            )
            root, filled, damaged, advice = made.root, made.filled, made.damaged, made.advice
        else:
            root, filled = _command(cell, source, folder, prefect_api), 0
    except StreamWaveError as error:
        return [f"{type(error).__name__}: {error}".replace(str(folder), "")]
    except CommandFailed as failed:
        return [str(failed).replace(str(folder), "")]
    return Outcome(cell, root, filled, damaged, advice).faults()


def _command(cell: Cell, source: Path, folder: Path, prefect_api: str) -> Path:
    variables = {"PREFECT_API_URL": prefect_api, "STREAMWAVE_SEGMENT_SECONDS": str(cell.segment_s)}
    cli = Cli(folder, {**variables, "STREAMWAVE_LADDER": cell.ladder or ""})
    chosen = ("--audio-track", str(cell.audio_track)) if cell.audio_track else ()
    done = cli.run("transcode", str(source), "--output", "out", *chosen)
    noted = [line for line in done.out.splitlines() if line.startswith("note: ")]
    if done.code or done.err or len(noted) != len(cell.advice & NOTED):
        raise CommandFailed(f"the command ends with {done.code}, notes {noted} and says {done.err[-300:]}")
    return folder / "out"


def run_named(name: str) -> list[str]:
    """The faults of the cell ``name``; a time-out is one of them. Must run in the main thread of a separate process."""
    cell = next(cell for cell in CELLS if cell.name == name)
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(LIMIT_S)
    try:
        with TemporaryDirectory(prefix="matrix-") as folder:
            return run_cell(cell, Path(folder))
    except TimeoutError:
        return [f"takes longer than {LIMIT_S} s"]
    finally:
        signal.alarm(0)


def _too_long(_number: int, _frame: object) -> None:
    raise TimeoutError
