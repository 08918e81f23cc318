"""Handles a person's cancellation of a flow run in Prefect: the broadcast ends, and what was published stays playable."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from services.processing import attempts
from services.processing.executor import Executor
from services.processing.orchestration import Orchestration, is_cancelled
from services.processing.repair import stop_sessions
from services.processing.watch import Watch
from streamwave.errors import StreamWaveError
from streamwave.model import State
from streamwave.spool.broadcast import RUN_LOCK, BroadcastSpool
from streamwave.util.locks import lock_holder, signal_holder

log = logging.getLogger("streamwave.processing")

#: How long a cancelled run may take to exit after SIGTERM.
KILL_AFTER_S = 2.5
#: How long a worker may take to notice a cancellation and to end the run; by default, workers check every 10 s.
WORKER_GRACE_S = 30.0


class Cancellations:
    """Used by the reconciler's thread; slow work runs in ``later``."""

    def __init__(self, orchestration: Orchestration, executor: Executor | None, later: ThreadPoolExecutor) -> None:
        self._orchestration = orchestration
        self._executor = executor
        self._later = later
        self._ending: set[Path] = set()
        self._cancelling: dict[str, float] = {}

    def apply(self, alive: Mapping[str, BroadcastSpool]) -> None:
        """End the processes of cancelled runs. ``alive``: the broadcast that a run holds, by flow run id.

        Raises:
            PrefectUnavailable: Prefect does not answer.
        """
        running = self._executor.running() if self._executor is not None else {}
        for flow_run_id in [gone for gone in self._cancelling if gone not in running and gone not in alive]:
            # The reconciler no longer looks at the run if it has finished its broadcast before it exited.
            self._orchestration.conclude(flow_run_id, "Cancelled.", cancelled=True)
            del self._cancelling[flow_run_id]
        for flow_run_id, state in self._orchestration.states(list({*alive, *running})).items():
            if not (flow_run_id in self._cancelling or is_cancelled(state)):
                continue
            run, spool = running.get(flow_run_id), alive.get(flow_run_id)
            asked_at = self._cancelling.setdefault(flow_run_id, time.monotonic())
            if spool is not None:
                _note(spool, flow_run_id)
            asked_for_s = time.monotonic() - asked_at
            # A worker ends the runs that it started. If it has died and the run is on this machine, we end the run.
            if self._orchestration.work_pool is None or asked_for_s > WORKER_GRACE_S:
                number = signal.SIGKILL if asked_for_s > KILL_AFTER_S else signal.SIGTERM
                if run is not None:
                    run.process.send_signal(number)
                elif spool is not None:
                    signal_run(spool, number)
            if spool is not None:
                stop_sessions(spool)

    def end_broadcast(self, spool: BroadcastSpool, watch: Watch) -> None:
        """End a cancelled broadcast: stop its segmenters, and turn what was published into the recording."""
        if spool.folder in self._ending or time.monotonic() < watch.next_start_at:
            return
        self._ending.add(spool.folder)

        def end() -> None:
            from streamwave.broadcasts.finalize import finish_cut_off
            from streamwave.config.settings import Settings

            try:
                stop_sessions(spool, wait=True)
                finish_cut_off(spool, Settings.load())
                spool.write_status(
                    spool.status() | {"state": State.RECORDED.in_status, "error": "cancelled in Prefect"}
                )
                watch.error = ""
                watch.notify()
            except (StreamWaveError, OSError) as error:
                watch.died(str(error))
                log.warning(
                    "%s/%s: cannot end the cancelled broadcast, trying again: %s", spool.stream, spool.broadcast, error
                )
            finally:
                self._ending.discard(spool.folder)

        self._later.submit(end)


def signal_run(spool: BroadcastSpool, number: signal.Signals) -> bool:
    """Send a signal to the process that holds the broadcast's run lock, whoever started it; whether there is one."""
    path = spool.folder / RUN_LOCK
    pid = lock_holder(path)
    return pid is not None and signal_holder(pid, path, number)


def _note(spool: BroadcastSpool, flow_run_id: str) -> None:
    """Record the cancellation before the run is ended: the run may report a crash to Prefect when it gets SIGTERM."""
    attempt = attempts.read(spool.folder)
    if attempt is None or attempt.flow_run_id != flow_run_id:  # started manually
        number = attempt.number if attempt else 0
        attempt = attempts.Attempt(number=number, created_unix_ms=time.time_ns() // 1_000_000, flow_run_id=flow_run_id)
    if not attempt.cancelled:
        attempts.write(spool.folder, attempt.model_copy(update={"cancelled": True, "concluded": False}))
