"""The reconciler: every unfinished broadcast in the spool has one flow run, whatever dies.

A thread reads the spool every second, and immediately when it is woken. The spool holds the truth and survives this process:
while ``run.lock`` is held, a run is alive; once ``finished`` exists, none is needed. Prefect is informed, and asked only
whether a person has cancelled or scheduled a run.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from services.processing import attempts
from services.processing.availability import Availability
from services.processing.cancel import Cancellations, signal_run
from services.processing.conclusions import Conclusions, reported_run
from services.processing.executor import Executor
from services.processing.orchestration import Orchestration
from services.processing.prefect_api import PrefectUnavailable
from services.processing.repair import end_cut_off_sessions
from services.processing.starts import Starts
from services.processing.turns import turns
from services.processing.watch import Watch, Watches
from streamwave.errors import SpoolError, StreamWaveError
from streamwave.spool.broadcast import BroadcastSpool, broadcasts

log = logging.getLogger("streamwave.processing")

INTERVAL_S = 1.0
#: Runs that may be starting at the same time. A start takes seconds of CPU time, so too many would time each other out.
#: Does not apply to a work pool, which has its own limit.
STARTS_AT_ONCE = max(2, len(os.sched_getaffinity(0)))
#: A broadcast younger than this that nobody has requested a run for may belong to a manually started run, which has yet
#: to take the lock.
YOUNG_MS = 3000


class Reconciler:
    """Keeps a run going for each broadcast under ``root``. ``executor`` is None if a work pool runs them elsewhere.

    ``restore`` rewrites the damaged description of a broadcast. ``on_health`` is called with whether Prefect answers,
    whenever that changes.
    """

    def __init__(
        self,
        root: Path,
        orchestration: Orchestration,
        executor: Executor | None,
        *,
        max_runs: int,
        restore: Callable[[BroadcastSpool], object],
        on_health: Callable[[bool], None] = lambda healthy: None,
    ) -> None:
        self.root = root
        self.max_runs = max_runs
        self.watches = Watches()
        self._restore = restore
        self._orchestration = orchestration
        self._executor = executor
        self._server = Availability(on_health, time.monotonic())
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconciler")
        self._later = ThreadPoolExecutor(4, thread_name_prefix="conclude")
        self._starts = Starts(orchestration, executor)
        self._cancellations = Cancellations(orchestration, executor, self._later)
        self._conclusions = Conclusions(orchestration, executor, self._cancellations, self._later)
        self._alive: dict[str, BroadcastSpool] = {}

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def kick(self) -> None:
        """Reconcile now instead of after the interval."""
        self._woken.set()

    def want(self, folder: Path) -> Watch:
        """Request a run for a broadcast; its watch."""
        watch = self.watches.of(folder)
        watch.wanted = True
        self.kick()
        return watch

    def stop(self, *, leave: bool) -> None:
        """End the thread and, unless ``leave``, the flow runs, which the next start resumes."""
        self._stopping.set()
        self._woken.set()
        self._thread.join(30)
        ended = self._executor.close(leave=leave) if self._executor is not None else []
        if not leave and self._executor is not None:
            ended += self._end_orphans()
        self._conclusions.conclude_stopped(ended)
        self._later.shutdown(wait=False, cancel_futures=True)

    def _end_orphans(self) -> list[str]:
        """End the runs that an earlier process of this service started; their ids."""
        ended = []
        for flow_run_id, spool in self._alive.items():
            if signal_run(spool, signal.SIGTERM):
                ended.append(flow_run_id)
        end = time.monotonic() + 10
        while time.monotonic() < end and any(spool.run_alive() for spool in self._alive.values()):
            time.sleep(0.05)
        return ended

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._tick()
            except Exception:
                log.exception("unexpected error in the reconciler; trying again in %g s", INTERVAL_S)
            self._woken.wait(INTERVAL_S)
            self._woken.clear()

    def _tick(self) -> None:
        self._conclusions.reap()
        try:
            self._orchestration.check()
            self._server.note("", time.monotonic())
        except PrefectUnavailable as error:
            self._server.note(str(error), time.monotonic())
        self._alive = {}
        found = [spool for spool in broadcasts(self.root) if not spool.finished]
        waiting: dict[BroadcastSpool, Watch] = {}
        for spool in found:
            if self._stopping.is_set():
                return
            with self._reporting(spool):
                if self._reconcile(spool):
                    watch = waiting[spool] = self.watches.of(spool.folder)
                    watch.waiting_since = watch.waiting_since or time.monotonic()
        self._start_some(waiting)
        self.watches.keep(spool.folder for spool in found)
        if self._server.healthy:
            try:
                self._cancellations.apply(self._alive)
                self._run_by_hand()
                self._conclusions.conclude_abandoned(self.root, self._alive)
            except PrefectUnavailable as error:
                self._server.note(str(error), time.monotonic())
        if self._executor is not None and self._server.healthy:
            self._executor.keep_spare()

    @contextmanager
    def _reporting(self, spool: BroadcastSpool) -> Iterator[None]:
        """Record an error of one broadcast in its watch, so that the others are reconciled; log it when it changes."""
        watch = self.watches.of(spool.folder)
        try:
            yield
        except PrefectUnavailable as error:
            watch.error = str(error)
            self._server.note(str(error), time.monotonic())
        except (StreamWaveError, OSError) as error:
            if watch.error != str(error):
                log.warning("%s/%s: %s", spool.stream, spool.broadcast, error)
            watch.error = str(error)

    def _start_some(self, waiting: dict[BroadcastSpool, Watch]) -> None:
        """Start runs for as many of the waiting broadcasts as the limits allow."""
        at_once = STARTS_AT_ONCE - self.watches.starting if self._executor else self.max_runs
        slots = min(self.max_runs - self.watches.active, at_once)
        for spool in turns(waiting, self.watches.by_stream(), lambda spool: spool.stream, slots):
            if self._stopping.is_set():
                return
            with self._reporting(spool):
                self._starts.start(spool, waiting.pop(spool))
        for watch in waiting.values():
            if self.watches.active >= self.max_runs:
                watch.error = f"{self.max_runs} broadcasts are being published: that is STREAMWAVE_MAX_STREAMS"
            elif self._server.healthy:
                watch.error = "waiting for a free slot: other broadcasts, of this or other streams, are started first"

    def _reconcile(self, spool: BroadcastSpool) -> bool:
        """Update what is known of a broadcast; whether it needs a new run now."""
        watch = self.watches.of(spool.folder)
        try:
            info = spool.info()
        except SpoolError:
            self._restore(spool)
            info = spool.info()
        attempt = attempts.read(spool.folder)
        end_cut_off_sessions(spool, watch)
        if attempt is not None and attempt.cancelled and attempt.concluded:
            self._cancellations.end_broadcast(spool, watch)
            return False
        if spool.run_alive():
            watch.alive()
            flow_run_id = reported_run(spool)[0] or (attempt.flow_run_id if attempt else "")
            if flow_run_id:
                self._alive[flow_run_id] = spool
            return False
        if spool.finished:  # since it was listed
            return False
        if self._starts.under_way(attempt, watch):
            # An earlier process of this service may have started the run.
            watch.started_at = watch.started_at or time.monotonic()
            return False
        if not self._conclusions.conclude(spool, attempt, watch) or time.monotonic() < watch.next_start_at:
            return False
        young = time.time_ns() // 1_000_000 - info.created_unix_ms < YOUNG_MS
        return watch.wanted or not young

    def _run_by_hand(self) -> None:
        """Start runs that somebody has scheduled at Prefect."""
        if self._executor is None or self._stopping.is_set():
            return
        slots = self.max_runs - max(self.watches.active, len(self._executor.running()))
        for flow_run_id in self._orchestration.started_by_hand(slots) if slots > 0 else []:
            log.info("flow run %s was scheduled at Prefect; starting it", flow_run_id)
            self._executor.start(flow_run_id, None)
