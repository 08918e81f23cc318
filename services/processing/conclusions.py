"""Concludes runs whose process is gone: Prefect's record, the service's own (``run.json``), and the broadcast's back-off."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from services.processing import attempts
from services.processing.cancel import Cancellations
from services.processing.executor import Executor, RunProcess, last_line
from services.processing.orchestration import Orchestration, Verdict
from services.processing.prefect_api import PrefectUnavailable
from services.processing.watch import Watch
from streamwave.spool.broadcast import BroadcastSpool, broadcasts

log = logging.getLogger("streamwave.processing")


class Conclusions:
    """Used by the reconciler's thread; calls to Prefect that nobody waits for run in ``later``."""

    def __init__(
        self,
        orchestration: Orchestration,
        executor: Executor | None,
        cancellations: Cancellations,
        later: ThreadPoolExecutor,
    ) -> None:
        self._orchestration, self._executor, self._later = orchestration, executor, later
        self._cancellations = cancellations
        self._exits: dict[str, str] = {}  # how processes of broadcasts ended, by flow run id
        self._swept = False

    def reap(self) -> None:
        """Collect processes that have ended; ``conclude`` needs to know how those of broadcasts did."""
        for run in self._executor.reap() if self._executor is not None else []:
            if run.log is not None:
                self._exits[run.flow_run_id] = exit_message(run)
            self._later.submit(_quietly, self._orchestration.conclude, run.flow_run_id, exit_message(run))

    def conclude(self, spool: BroadcastSpool, attempt: attempts.Attempt | None, watch: Watch) -> bool:
        """Conclude the last run of a broadcast, whose process is gone; whether another run may be started.

        Raises:
            PrefectUnavailable: no answer; call again.
        """
        reported_id, reported_ms = reported_run(spool)
        if attempt is None or (
            reported_id and reported_id != attempt.flow_run_id and reported_ms > attempt.created_unix_ms
        ):
            if not reported_id:
                return True
            # A manually started run has published this broadcast since.
            number = attempt.number if attempt else 0
            attempt = attempts.Attempt(number=number, created_unix_ms=reported_ms, flow_run_id=reported_id)
        if attempt.concluded or not attempt.flow_run_id:
            return True
        exited = self._exits.get(attempt.flow_run_id, "Its process was killed.")
        verdict, message = self._orchestration.conclude(attempt.flow_run_id, exited, cancelled=attempt.cancelled)
        self._exits.pop(attempt.flow_run_id, None)
        reported_error = spool.status().get("error") if reported_run(spool)[0] == attempt.flow_run_id else None
        why = str(reported_error or message)
        self._later.submit(_quietly, self._orchestration.conclude_parts, attempt.flow_run_id, "Its flow run is gone.")
        if verdict is Verdict.CANCELLED or attempt.cancelled:
            attempts.write(spool.folder, attempt.model_copy(update={"concluded": True, "cancelled": True}))
            log.info("%s/%s: cancelled in Prefect; ending the broadcast", spool.stream, spool.broadcast)
            self._cancellations.end_broadcast(spool, watch)
            return False
        attempts.write(spool.folder, attempt.model_copy(update={"concluded": True}))
        watch.died(why)
        log.warning("%s/%s: flow run %s has ended: %s", spool.stream, spool.broadcast, attempt.flow_run_id, why)
        return True

    def conclude_abandoned(self, root: Path, alive: Iterable[str]) -> None:
        """Once per start of the service: conclude runs that died while it was down. ``alive``: ids of live runs.

        Raises:
            PrefectUnavailable: no answer; call again.
        """
        if self._swept or self._executor is None:
            return
        others = {*alive, *self._executor.running()}
        known = [attempts.read(spool.folder) for spool in broadcasts(root) if not spool.finished]
        others |= {attempt.flow_run_id for attempt in known if attempt is not None}
        for flow_run_id in self._orchestration.abandoned(others):
            self._orchestration.conclude(flow_run_id, "The run's process is gone.")
        self._swept = True

    def conclude_stopped(self, flow_run_ids: Iterable[str]) -> None:
        """Record that the service has ended these runs because it stops itself; not done if Prefect does not answer."""
        for flow_run_id in flow_run_ids:
            try:
                self._orchestration.conclude(flow_run_id, "The service was stopped; its next start resumes this.")
            except PrefectUnavailable:
                return


def reported_run(spool: BroadcastSpool) -> tuple[str, int]:
    """The id of the flow run that last reported its status to the spool, and when (Unix ms); ("", 0) if none did."""
    status: Mapping[str, object] = spool.status()
    at = status.get("updated_unix_ms")
    return str(status.get("flow_run_id") or ""), at if isinstance(at, int) else 0


def exit_message(run: RunProcess) -> str:
    """How the process of ``run`` ended, with the last line of its log after a failure."""
    status = run.process.returncode
    how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
    line = last_line(run.log) if status else ""
    return f"Its process {how}." + (f" {line}" if line else "")


def _quietly(call: Callable[[str, str], object], flow_run_id: str, why: str) -> None:
    try:
        call(flow_run_id, why)
    except PrefectUnavailable:
        pass
    except Exception:
        log.exception("cannot record the end of flow run %s at Prefect", flow_run_id)
