"""The reconciler: every broadcast in the spool that is not finished has one flow run, whatever dies.

One thread looks at the spool every second, and at once when it is kicked. What is true stands in the spool and survives
this process (``run.lock`` held: a run is alive; ``finished``: none is needed); Prefect is told, and asked one thing
only: whether a person has cancelled.
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
from services.processing.answering import Answering
from services.processing.cancel import Cancellations, signal_run
from services.processing.executor import Executor, RunProcess, last_words
from services.processing.orchestration import Orchestration, ServerAway, Verdict
from services.processing.repair import end_cut_off_sessions
from services.processing.starts import Starts
from services.processing.watch import Watch, next_starts, one_each
from streamwave.errors import SpoolError, StreamWaveError
from streamwave.spool.broadcast import BroadcastSpool, broadcasts

log = logging.getLogger("streamwave.processing")

INTERVAL_S = 1.0
#: Runs that are being started at once: each takes seconds of a processor until it holds its broadcast, and all of them
#: together would time each other out. Workers of a pool have a bound of their own.
STARTS_AT_ONCE = max(2, len(os.sched_getaffinity(0)))
#: Broadcasts of one stream that are published at once: the present one, and the one before while that is being finished.
#: A broadcast that nobody has asked us to start may be that of a run by hand, which takes the lock itself.
YOUNG_MS = 3000


class Reconciler:
    """Keeps the runs of all broadcasts under ``root`` going. ``executor`` None: a work pool runs them elsewhere.

    ``restore`` mends the damaged description of a broadcast. ``on_health`` is told whether Prefect answers, at every change.
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
        self._restore = restore
        self._orchestration = orchestration
        self._executor = executor
        self._server = Answering(on_health, time.monotonic())
        self._watches: dict[Path, Watch] = {}
        self._lock = threading.Lock()
        self._kicked = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconciler")
        self._later = ThreadPoolExecutor(4, thread_name_prefix="conclude")
        self._starts = Starts(orchestration)
        self._cancellations = Cancellations(orchestration, executor, self._later)
        self._alive: dict[str, BroadcastSpool] = {}
        self._swept = False
        self._exits: dict[str, str] = {}

    def start(self) -> None:
        """Begin to reconcile."""
        self._thread.start()

    def kick(self, folder: Path | None = None) -> Watch | None:
        """Look at once; ``folder`` is a broadcast that somebody wants a run for."""
        watch = None
        if folder is not None:
            watch = self.watch(folder)
            watch.wanted = True
        self._kicked.set()
        return watch

    def watch(self, folder: Path) -> Watch:
        """What is known of a broadcast."""
        with self._lock:
            return self._watches.setdefault(folder, Watch())

    def known(self, folder: Path) -> Watch | None:
        """The same, or None where there is nothing to know."""
        with self._lock:
            return self._watches.get(folder)

    @property
    def active(self) -> int:
        """How many runs are alive or being started; without those that only wait for outputs of what is stuck."""
        with self._lock:
            return sum(w.has_run for w in self._watches.values() if not w.stuck)

    def stop(self, *, leave: bool) -> None:
        """End; the flow runs too unless ``leave``. Those are not cancelled: the next start resumes them."""
        self._stopping.set()
        self._kicked.set()
        self._thread.join(30)
        ended = self._executor.close(leave=leave) if self._executor is not None else []
        if not leave and self._executor is not None:
            ended += self._end_orphans()
        for flow_run_id in ended:
            try:
                self._orchestration.conclude(flow_run_id, "The service was stopped; its next start resumes this.")
            except ServerAway:
                break
        self._later.shutdown(wait=False, cancel_futures=True)

    def _end_orphans(self) -> list[str]:
        """End runs that an earlier life of this service has started."""
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
                log.exception("the reconciler met an unexpected fault and goes on")
            self._kicked.wait(INTERVAL_S)
            self._kicked.clear()

    def _tick(self) -> None:
        self._reap()
        try:
            self._orchestration.check()
            self._server.note("", time.monotonic())
        except ServerAway as error:
            self._server.note(str(error), time.monotonic())
        self._alive = {}
        found = [spool for spool in broadcasts(self.root) if not spool.finished]
        waiting: dict[BroadcastSpool, Watch] = {}
        for spool in found:
            if self._stopping.is_set():
                return
            with self._blaming(spool):
                if self._reconcile(spool):
                    watch = waiting[spool] = self.watch(spool.folder)
                    watch.waiting_since = watch.waiting_since or time.monotonic()
        self._start_some(waiting)
        with self._lock:
            folders = {spool.folder for spool in found}
            for gone in [folder for folder in self._watches if folder not in folders]:
                self._watches.pop(gone).tell()
        if self._server.healthy:
            try:
                self._cancellations.see(self._alive)
                self._run_by_hand()
                self._sweep()
            except ServerAway as error:
                self._server.note(str(error), time.monotonic())
        if self._executor is not None and self._server.healthy:
            self._executor.keep_spare()

    @contextmanager
    def _blaming(self, spool: BroadcastSpool) -> Iterator[None]:
        """What goes wrong with one broadcast is its own affair; it is said once."""
        watch = self.watch(spool.folder)
        try:
            yield
        except ServerAway as error:
            watch.error = str(error)
            self._server.note(str(error), time.monotonic())
        except (StreamWaveError, OSError) as error:
            if watch.error != str(error):
                log.warning("%s/%s: %s", spool.stream, spool.broadcast, error)
            watch.error = str(error)

    def _start_some(self, waiting: dict[BroadcastSpool, Watch]) -> None:
        """Start runs for some of the broadcasts that wait for one: not more at once than the machine can bear."""
        with self._lock:
            starting = sum(watch.starting for watch in self._watches.values())
        slots = min(self.max_runs - self.active, STARTS_AT_ONCE - starting if self._executor else self.max_runs)
        with self._lock:
            busy = any(watch.stuck and watch.has_run for watch in self._watches.values())
            known = [(folder.parent.name, watch) for folder, watch in self._watches.items()]
        for spool in next_starts(one_each(waiting, known, lambda spool: spool.stream), slots):
            if self._stopping.is_set():
                return
            if waiting[spool].stuck and busy:
                continue  # one of them at a time: each takes memory for as long as its outputs are waited for
            busy = busy or waiting[spool].stuck
            with self._blaming(spool):
                self._start(spool, waiting.pop(spool))
        for watch in waiting.values():
            if self.active >= self.max_runs:
                watch.error = f"{self.max_runs} broadcasts are being published: that is STREAMWAVE_MAX_STREAMS"
            elif self._server.healthy:
                watch.error = "other broadcasts, or those of this stream, come first; this one waits for its turn"

    def _reconcile(self, spool: BroadcastSpool) -> bool:
        """Settle what is to be settled of a broadcast; whether it needs a new run now."""
        watch = self.watch(spool.folder)
        try:
            info = spool.info()
        except SpoolError:
            self._restore(spool)
            info = spool.info()
        attempt = attempts.read(spool.folder)
        end_cut_off_sessions(spool, watch)
        if attempt is not None and attempt.cancelled and attempt.concluded:
            self._cancellations.cut_off(spool, watch)
            return False
        if spool.run_alive():
            watch.alive()
            flow_run_id = _told_id(spool) or (attempt.flow_run_id if attempt else "")
            if flow_run_id:
                self._alive[flow_run_id] = spool
            return False
        if spool.finished:  # it was, between the listing and now
            return False
        if self._starts.under_way(attempt, watch):
            watch.started_at = watch.started_at or time.monotonic()  # by an earlier life of this service
            return False
        if not self._conclude(spool, attempt, watch) or time.monotonic() < watch.next_start_at:
            return False
        young = time.time_ns() // 1_000_000 - info.created_unix_ms < YOUNG_MS
        return watch.wanted or not young

    def _conclude(self, spool: BroadcastSpool, attempt: attempts.Attempt | None, watch: Watch) -> bool:
        """Settle the last run, whose process is gone; whether a new one may be started."""
        told = _told_id(spool)
        if attempt is None or (told and told != attempt.flow_run_id and _told_at(spool) > attempt.created_unix_ms):
            if not told:
                return True
            # A run by hand has published this broadcast.
            number = attempt.number if attempt else 0
            attempt = attempts.Attempt(number=number, created_unix_ms=_told_at(spool), flow_run_id=told)
        if attempt.concluded or not attempt.flow_run_id:
            return True
        exited = self._exits.get(attempt.flow_run_id, "Its process was killed.")
        verdict, words = self._orchestration.conclude(attempt.flow_run_id, exited, cancelled=attempt.cancelled)
        self._exits.pop(attempt.flow_run_id, None)
        told_error = spool.status().get("error") if _told_id(spool) == attempt.flow_run_id else None
        why = str(told_error or words)
        self._later.submit(_quietly, self._orchestration.conclude_parts, attempt.flow_run_id, "Its flow run is gone.")
        if verdict is Verdict.CANCELLED or attempt.cancelled:
            attempts.write(spool.folder, attempt.model_copy(update={"concluded": True, "cancelled": True}))
            log.info("%s/%s: cancelled in Prefect, so it is ended", spool.stream, spool.broadcast)
            self._cancellations.cut_off(spool, watch)
            return False
        attempts.write(spool.folder, attempt.model_copy(update={"concluded": True}))
        watch.died(why)
        log.warning("%s/%s: flow run %s is gone: %s", spool.stream, spool.broadcast, attempt.flow_run_id, why)
        return True

    def _start(self, spool: BroadcastSpool, watch: Watch) -> None:
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
        watch.tell()
        took_ms = round((time.monotonic() - began) * 1000)
        log.info("%s: flow run %s, attempt %d (%d ms)", label, flow_run_id, attempt.number, took_ms)

    def _reap(self) -> None:
        """Take note of processes that have ended; those of broadcasts are settled by ``_conclude``."""
        for run in self._executor.reap() if self._executor is not None else []:
            if run.log is not None:
                self._exits[run.flow_run_id] = _exit_words(run)
            self._later.submit(_quietly, self._orchestration.conclude, run.flow_run_id, _exit_words(run))

    def _run_by_hand(self) -> None:
        """Start what somebody has scheduled without this service."""
        if self._executor is None or self._stopping.is_set():
            return
        room = self.max_runs - max(self.active, len(self._executor.running()))
        for flow_run_id in self._orchestration.started_by_hand(room) if room > 0 else []:
            log.info("flow run %s, started by hand", flow_run_id)
            self._executor.start(flow_run_id, None)

    def _sweep(self) -> None:
        """Once: settle the records of runs that died while this service was away."""
        if self._swept or self._executor is None:
            return
        alive = {*self._alive, *self._executor.running()}
        known = [attempts.read(spool.folder) for spool in broadcasts(self.root) if not spool.finished]
        alive |= {attempt.flow_run_id for attempt in known if attempt is not None}
        for flow_run_id in self._orchestration.abandoned(alive):
            self._orchestration.conclude(flow_run_id, "The run's process is gone.")
        self._swept = True


def _told_id(spool: BroadcastSpool) -> str:
    return str(spool.status().get("flow_run_id") or "")


def _told_at(spool: BroadcastSpool) -> int:
    at = spool.status().get("updated_unix_ms")
    return at if isinstance(at, int) else 0


def _exit_words(run: RunProcess) -> str:
    status = run.process.returncode
    how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
    words = last_words(run.log) if status else ""
    return f"Its process {how}." + (f" {words}" if words else "")


def _quietly(call: Callable[[str, str], object], flow_run_id: str, why: str) -> None:
    try:
        call(flow_run_id, why)
    except ServerAway:
        pass
    except Exception:
        log.exception("flow run %s could not be settled", flow_run_id)
