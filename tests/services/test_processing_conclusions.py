"""How the end of a run's process is described, and which run last reported to the spool."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from services.processing.conclusions import exit_message, reported_run
from services.processing.executor import RunProcess
from streamwave.spool.broadcast import open_session


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise SystemExit(0)", "Its process ended with status 0."),
        ("raise SystemExit('no space left')", "Its process ended with status 1. no space left"),
        ("import os; os.kill(os.getpid(), 9)", "Its process was killed by signal 9."),
    ],
)
def test_the_message_names_the_status_and_the_last_line(tmp_path: Path, code: str, message: str) -> None:
    log = tmp_path / "run.log"
    with log.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-c", code], stderr=file)
    process.wait()
    assert exit_message(RunProcess("id", process, log)) == message
    assert exit_message(RunProcess("id", process, None)) == message.partition(". no")[0].rstrip(".") + "."


def test_the_run_that_reported_last(tmp_path: Path) -> None:
    spool, _session = open_session(tmp_path, "cam", output=str(tmp_path / "out"), window_ms=60_000)
    assert reported_run(spool) == ("", 0)
    spool.write_status({"flow_run_id": "one", "updated_unix_ms": 7})
    assert reported_run(spool) == ("one", 7)
    spool.write_status({"flow_run_id": None, "updated_unix_ms": "soon"})
    assert reported_run(spool) == ("", 0)
