"""Whether a run that was created is still on its way to its broadcast, or out of it, so that no other may be started."""

from __future__ import annotations

import logging
import signal
import time

from services.processing import attempts
from services.processing.orchestration import Orchestration, is_cancelled
from services.processing.processes import is_same, send
from services.processing.watch import WORKER_LIMIT_S, Watch, start_limit_s

log = logging.getLogger("streamwave.processing")

#: How long a run that has let go of its broadcast may take to tell Prefect and to exit.
EXIT_LIMIT_S = 5.0


class Starts:
    """Judges the runs of ``orchestration``, and kills processes that take too long."""

    def __init__(self, orchestration: Orchestration) -> None:
        self._orchestration = orchestration

    def under_way(self, attempt: attempts.Attempt | None, watch: Watch) -> bool:
        """Whether a run that was created may still take the lock."""
        if attempt is None or not attempt.flow_run_id or attempt.concluded:
            return False
        if watch.alive_since is not None:
            return self._ending(attempt, watch)
        if self._orchestration.work_pool:
            return self._worker_may_come(attempt, watch)
        if not is_same(attempt.pid, attempt.pid_ticks):
            return False
        age_ms = time.time_ns() // 1_000_000 - attempt.created_unix_ms
        limit_s = start_limit_s(watch.failures)
        if age_ms < limit_s * 1000:
            return True
        if attempt.pid:
            log.warning("flow run %s did not begin within %g s and is killed", attempt.flow_run_id, limit_s)
            send(attempt.pid, attempt.pid_ticks, signal.SIGKILL)
        return False

    def _worker_may_come(self, attempt: attempts.Attempt, watch: Watch) -> bool:
        """Whether a run in a work pool may still take the lock. Only Prefect knows where it is."""
        state = self._orchestration.states([attempt.flow_run_id]).get(attempt.flow_run_id)
        if state is None or state.is_final() or is_cancelled(state):
            return False
        stood_s = watch.seen_for_s((attempt.flow_run_id, state.type))
        if state.is_scheduled():
            watch.error = f"no worker of the work pool {self._orchestration.work_pool} has taken the flow run yet"
            return True
        if state.is_pending():
            watch.error = "a worker has taken the flow run and starts it"
        limit_s = WORKER_LIMIT_S if state.is_pending() else start_limit_s(watch.failures)
        if stood_s < limit_s:
            return True
        log.warning("flow run %s: its worker did not get it going within %g s", attempt.flow_run_id, limit_s)
        return False

    def _ending(self, attempt: attempts.Attempt, watch: Watch) -> bool:
        """Whether the run, which has let go of the broadcast, is just about to tell Prefect and to exit."""
        if not is_same(attempt.pid, attempt.pid_ticks):
            return False
        now = time.monotonic()
        watch.released_at = watch.released_at or now
        if now - watch.released_at < EXIT_LIMIT_S:
            return True
        send(attempt.pid, attempt.pid_ticks, signal.SIGKILL)
        return False
