"""What the service must remember of a broadcast's flow runs beyond its own life: ``run.json`` in its folder."""

from __future__ import annotations

import time
from pathlib import Path

from pydantic import ValidationError

from streamwave.model import Frozen
from streamwave.util.files import replace_file

FILE = "run.json"


class Attempt(Frozen):
    """The newest start of a flow run. It is written before the run is created, so that no number is used twice.

    ``flow_run_id`` is empty until the run is created; ``pid`` and ``pid_ticks`` name its process (0: elsewhere).
    ``concluded``: the run is over and its record at Prefect says so. ``cancelled``: by a person; no other is started.
    """

    number: int
    created_unix_ms: int
    flow_run_id: str = ""
    pid: int = 0
    pid_ticks: int = 0
    concluded: bool = False
    cancelled: bool = False


def read(folder: Path) -> Attempt | None:
    """The newest attempt for the broadcast in ``folder``."""
    try:
        return Attempt.model_validate_json((folder / FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def write(folder: Path, attempt: Attempt) -> Attempt:
    """Keep ``attempt`` durably."""
    replace_file(folder / FILE, attempt.model_dump_json().encode(), durable=True)
    return attempt


def following(attempt: Attempt | None) -> Attempt:
    """The attempt after ``attempt``; the same one again if its run was never created."""
    if attempt is not None and not attempt.flow_run_id and not attempt.concluded:
        return attempt
    return Attempt(number=attempt.number + 1 if attempt else 1, created_unix_ms=time.time_ns() // 1_000_000)
