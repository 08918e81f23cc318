"""Starts flow runs, and judges whether a started run may still take its broadcast or is just exiting.

While one may, no other is started.
"""

from __future__ import annotations

import logging
import signal
import time

from services.processing import attempts
from services.processing.executor import Executor
from services.processing.orchestration import Orchestration, is_cancelled
from services.processing.processes import is_same, send
from services.processing.watch import WORKER_LIMIT_S, Watch, start_limit_s
from streamwave.spool.broadcast import BroadcastSpool

log = logging.getLogger("streamwave.processing")

#: How long a run that has released its broadcast may take to report to Prefect and to exit.
EXIT_LIMIT_S = 5.0


class Starts:
    """Starts runs with ``executor``, or (None) leaves them to the work pool, and kills processes that take too long."""

    def __init__(self, orchestration: Orchestration, executor: Executor | None) -> None:
        self._orchestration, self._executor = orchestration, executor

    def start(self, spool: BroadcastSpool, watch: Watch) -> None:
        """Create the next flow run of a broadcast and start its process.

        Raises:
            PrefectUnavailable: the run could not be created.
            StreamWaveError: the process could not be started.
        """
        began = watch.tried_at = time.monotonic()
        watch.waiting_since = None
        attempt = attempts.following(attempts.read(spool.folder))
        attempts.write(spool.folder, attempt)
        label = f"{spool.stream}/{spool.broadcast}"
        flow_run_id = self._orchestration.create(
            f"{label}:{attempt.number}", f"{spool.stream} {spool.broadcast}", spool.info().spool or str(spool.folder)
        )
        attempt = attempt.model_copy(
            update={"flow_run_id": flow_run_id, "created_unix_ms": time.time_ns() // 1_000_000}
        )
        attempts.write(spool.folder, attempt)
        if self._executor is not None:
            pid, ticks = self._executor.start(flow_run_id, spool.folder / "run.log")
            attempts.write(spool.folder, attempt.model_copy(update={"pid": pid, "pid_ticks": ticks}))
        watch.attempts += 1
        watch.started_at = time.monotonic()
        watch.notify()
        took_ms = round((time.monotonic() - began) * 1000)
        log.info("%s: started flow run %s, attempt %d (%d ms)", label, flow_run_id, attempt.number, took_ms)

    def under_way(self, attempt: attempts.Attempt | None, watch: Watch) -> bool:
        """Whether the run of ``attempt`` may still take the broadcast, or has released it and is exiting."""
        if attempt is None or not attempt.flow_run_id or attempt.concluded:
            return False
        if watch.alive_since is not None:
            return self._exiting(attempt, watch)
        if self._orchestration.work_pool:
            return self._worker_may_start(attempt, watch)
        if not is_same(attempt.pid, attempt.pid_ticks):
            return False
        age_ms = time.time_ns() // 1_000_000 - attempt.created_unix_ms
        limit_s = start_limit_s(watch.failures)
        if age_ms < limit_s * 1000:
            return True
        if attempt.pid:
            log.warning("flow run %s did not take its broadcast within %g s: killed", attempt.flow_run_id, limit_s)
            send(attempt.pid, attempt.pid_ticks, signal.SIGKILL)
        return False

    def _worker_may_start(self, attempt: attempts.Attempt, watch: Watch) -> bool:
        """Whether a worker may still start the run; only Prefect knows its state."""
        state = self._orchestration.states([attempt.flow_run_id]).get(attempt.flow_run_id)
        if state is None or state.is_final() or is_cancelled(state):
            return False
        unchanged_s = watch.seen_for_s((attempt.flow_run_id, state.type))
        if state.is_scheduled():
            watch.error = f"no worker of the work pool {self._orchestration.work_pool} has taken the flow run yet"
            return True
        if state.is_pending():
            watch.error = "a worker has taken the flow run and is starting it"
        limit_s = WORKER_LIMIT_S if state.is_pending() else start_limit_s(watch.failures)
        if unchanged_s < limit_s:
            return True
        log.warning("flow run %s: its worker did not start it within %g s", attempt.flow_run_id, limit_s)
        return False

    def _exiting(self, attempt: attempts.Attempt, watch: Watch) -> bool:
        """Whether the run, which has released the broadcast, may still report to Prefect and exit by itself."""
        if not is_same(attempt.pid, attempt.pid_ticks):
            return False
        now = time.monotonic()
        watch.released_at = watch.released_at or now
        if now - watch.released_at < EXIT_LIMIT_S:
            return True
        send(attempt.pid, attempt.pid_ticks, signal.SIGKILL)
        return False
