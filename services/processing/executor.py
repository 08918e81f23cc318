"""Runs each flow run as a process on this machine.

Prefect's own Runner is not used, for three reasons. It kills its flow runs after Prefect's server has been unavailable for
some seconds, and it records them as cancelled when it shuts down; a stream must survive both. And it executes whatever
code the deployment at the server names (see spare.py).
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from services.processing.processes import start_ticks
from streamwave.errors import StreamWaveError
from streamwave.ffmpeg.process import spawn
from streamwave.util.private import python_argv

log = logging.getLogger("streamwave.processing")

PROJECT = Path(__file__).resolve().parents[2]
#: Delay before the next spare process is started, so that it does not compete with the run that has just been started.
SPARE_DELAY_S = 2.0


@dataclass
class RunProcess:
    """The process of a flow run; ``log`` receives its output."""

    flow_run_id: str
    process: subprocess.Popen[bytes]
    log: Path | None
    terminated_at: float | None = None


class Executor:
    """Starts, watches and ends processes of flow runs, which survive the death of this process. Thread-safe.

    A spare process creates ``ready_file`` when it is ready for a flow run.
    """

    def __init__(self, entrypoint: str, environment: Mapping[str, str], ready_file: Path) -> None:
        self._entrypoint = entrypoint
        self._ready_file = ready_file
        path = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._environment = {**os.environ, **environment, "PYTHONPATH": os.pathsep.join(path)}
        self._lock = threading.RLock()
        self._running: dict[str, RunProcess] = {}
        self._spare: subprocess.Popen[bytes] | None = None
        self._spare_due = 0.0
        self._closed = False

    def keep_spare(self) -> None:
        """Start a spare process if there is none; call this regularly."""
        with self._lock:
            if self._closed or time.monotonic() < self._spare_due:
                return
            if self._spare is None or self._spare.poll() is not None:
                self._spare = self._make_spare()
                self._spare_due = time.monotonic() + SPARE_DELAY_S  # do not start failing processes in a tight loop

    def _make_spare(self) -> subprocess.Popen[bytes]:
        return spawn(
            python_argv("services.processing.spare", self._entrypoint, str(self._ready_file)),
            survive=True,
            stdin=subprocess.PIPE,
            env=self._environment,
        )

    def start(self, flow_run_id: str, log_path: Path | None) -> tuple[int, int]:
        """Execute a flow run; the id and start time (clock ticks) of its process.

        Raises:
            StreamWaveError: the process could not be started.
        """
        order = json.dumps({"flow_run_id": flow_run_id, "log": str(log_path) if log_path else None}).encode() + b"\n"
        with self._lock:
            if self._closed:
                raise StreamWaveError("the processing service is stopping; its next start resumes this")
            for _ in range(2):
                process, self._spare = self._spare or self._make_spare(), None
                self._spare_due = time.monotonic() + SPARE_DELAY_S
                try:
                    assert process.stdin is not None
                    process.stdin.write(order)
                    process.stdin.close()
                except OSError:
                    process.wait(1)  # the spare has died; use a new process
                    continue
                ticks = start_ticks(process.pid)
                self._running[flow_run_id] = RunProcess(flow_run_id, process, log_path)
                return process.pid, ticks or 0
        raise StreamWaveError("the process of a flow run could not be started; see the log of the processing service")

    def reap(self) -> list[RunProcess]:
        """The runs whose processes have exited since the last call."""
        with self._lock:
            ended = [run for run in self._running.values() if run.process.poll() is not None]
            for run in ended:
                del self._running[run.flow_run_id]
            return ended

    def running(self) -> dict[str, RunProcess]:
        """The runs whose processes have not been reaped, by flow run id."""
        with self._lock:
            return dict(self._running)

    def close(self, *, leave: bool, grace_s: float = 10.0) -> list[str]:
        """Start no further process and, unless ``leave``, end the running ones (SIGTERM, then SIGKILL); their ids."""
        with self._lock:
            self._closed = True
            spare, self._spare = self._spare, None
        if spare is not None:
            spare.kill()
            spare.wait(5)
            assert spare.stdin is not None
            spare.stdin.close()
        if leave:
            return []
        runs = list(self.running().values())
        for run in runs:
            run.process.send_signal(signal.SIGTERM)
        end = time.monotonic() + grace_s
        for run in runs:
            try:
                run.process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("flow run %s did not exit within %g s: killed", run.flow_run_id, grace_s)
                run.process.kill()
                run.process.wait(5)
        return [run.flow_run_id for run in runs]


def last_line(path: Path | None) -> str:
    """The last line of a log, at most 300 characters; empty if there is none."""
    try:
        lines = path.read_bytes()[-4096:].decode("utf-8", "replace").strip().splitlines() if path else []
    except OSError:
        lines = []
    return lines[-1].strip()[:300] if lines else ""
