"""The last flow run of a broadcast, as the service must remember it over restarts: ``run.json`` in the broadcast's folder."""

from __future__ import annotations

import time
from pathlib import Path

from pydantic import ValidationError

from streamwave.model import Frozen
from streamwave.util.files import replace_file

FILE = "run.json"


class Attempt(Frozen):
    """The last start of a flow run. It is written before the run is created, so that no number is used twice.

    ``flow_run_id`` is empty until the run is created; ``pid`` and ``pid_ticks`` identify its process (0: on another
    machine). ``concluded``: the run is over, and its state at Prefect is final. ``cancelled``: a person has cancelled the
    run, so no other is started.
    """

    number: int
    created_unix_ms: int
    flow_run_id: str = ""
    pid: int = 0
    pid_ticks: int = 0
    concluded: bool = False
    cancelled: bool = False


def read(folder: Path) -> Attempt | None:
    """The last attempt for the broadcast in ``folder``; None if there is none, or its file is damaged."""
    try:
        return Attempt.model_validate_json((folder / FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def write(folder: Path, attempt: Attempt) -> Attempt:
    """Store ``attempt`` durably."""
    replace_file(folder / FILE, attempt.model_dump_json().encode(), durable=True)
    return attempt


def following(attempt: Attempt | None) -> Attempt:
    """The attempt after ``attempt``, or ``attempt`` itself if its run was never created."""
    if attempt is not None and not attempt.flow_run_id and not attempt.concluded:
        return attempt
    return Attempt(number=attempt.number + 1 if attempt else 1, created_unix_ms=time.time_ns() // 1_000_000)
