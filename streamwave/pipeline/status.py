"""The status of a live broadcast's run, written to the spool for other processes to read."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from streamwave.ffmpeg.meter import Meter, Slots
from streamwave.manifest.progress import Progress
from streamwave.model import State
from streamwave.pipeline.job import Job
from streamwave.pipeline.load import Load, figures
from streamwave.publish.outputs import Outputs
from streamwave.spool.advice import Advice
from streamwave.spool.broadcast import BroadcastSpool
from streamwave.spool.journal import received_ms

log = logging.getLogger("streamwave.live")

#: Initial values of status fields.
_AT_FIRST: dict[str, object] = {
    "session": None, "chunks": 0, "received_ms": 0, "published_ms": 0, "lag_ms": 0, "bitrates": {}, "outputs": [],
    "passthrough": None,
}  # fmt: skip
#: States in which chunks are encoded.
_ENCODING = (State.STARTING, State.LIVE, State.FINISHING)
#: Maximum age of the status while chunks wait for an output.
PULSE_S = 1.0
#: Maximum number of warnings in a status, and of advice.
NEWEST = 20


class RunStatus:
    """The status of the broadcast in ``spool`` while ``run`` publishes it. Thread-safe; never waits for an output.

    ``passthrough`` is a sentence about whether the newest session uses passthrough.
    """

    def __init__(self, spool: BroadcastSpool, run: str) -> None:
        self.passthrough: str | None = None
        self.state = State.STARTING
        self._spool, self._run = spool, run
        self._job: Job | None = None
        self._published: Outputs | None = None
        self._warnings: list[str] = []
        self._advice: list[Advice] = []
        self._told_at = 0.0
        self._told_of = Progress()
        # Values of an earlier run are kept until this run has its own, so that no counter ever decreases.
        earlier = spool.status()
        self._before = {name: earlier.get(name, first) for name, first in _AT_FIRST.items()}
        self._load, self._meter = Load(), Meter()
        self._slots: Callable[[], Slots] | None = None
        self._lock = threading.RLock()

    @property
    def known_chunks(self) -> int | None:
        """Number of chunks that an earlier run has published, by its status."""
        chunks = self._before["chunks"]
        return chunks if isinstance(chunks, int) else None

    def begin(self, job: Job, published: Outputs, meter: Meter, slots: Callable[[], Slots]) -> None:
        """Start reporting on the session of ``job``, and on its encoding: the time that it takes, and the slots for it."""
        with self._lock:
            self._job, self._published, self._meter, self._slots = job, published, meter, slots

    def warn(self, text: str, level: int = logging.WARNING) -> None:
        """Log a warning and add it to the status at the next ``tell``."""
        log.log(level, "%s/%s: %s", self._spool.stream, self._spool.broadcast, text)
        with self._lock:
            self._warnings = [*self._warnings[1 - NEWEST :], text]

    def warn_of_filler(self) -> None:
        """Warn of chunks that were replaced by filler since the last call."""
        if self._published is None:
            return
        progress = self._published.progress
        with self._lock:
            before, self._told_of = self._told_of, progress
        for text in progress.news(before):
            self.warn(text)

    def advise(self, found: Advice) -> None:
        """Log advice to the publisher and add it to the status."""
        log.warning("%s/%s: %s", self._spool.stream, self._spool.broadcast, found.text)
        with self._lock:
            self._advice = [*self._advice[1 - NEWEST :], found]
        self.tell()

    def has_advised(self, code: str) -> bool:
        """Whether advice with this code has been given."""
        return any(known.code == code for known in self._advice)

    def pulse(self) -> None:
        """Update the status if it is old, because receiving continues while outputs are waited for."""
        if time.monotonic() - self._told_at > PULSE_S:
            self.tell()

    def tell(self, state: State | None = None, error: str | None = None) -> None:
        """Write the status, with a new ``state`` if given."""
        with self._lock:
            self.state = state or self.state
            status: dict[str, object] = {
                **self._before, "state": self.state.in_status, "flow_run_id": self._run,
                "warnings": self._warnings, "error": error, "advice": [found.model_dump() for found in self._advice],
                "updated_unix_ms": time.time_ns() // 1_000_000,
            }  # fmt: skip
            if self._job is not None and self._published is not None:
                progress = self._published.progress
                status |= {"session": self._job.session, "outputs": self._published.lags()}
                if self.passthrough is not None:
                    status |= {"passthrough": self.passthrough}
                with suppress(OSError):
                    received, lag = received_ms(Path(self._job.spool)), self._lag_ms(progress)
                    status |= {"received_ms": received, "lag_ms": lag, **self._encoding(progress, lag)}
                if progress.session is not None:
                    status |= {"chunks": progress.chunks, "published_ms": progress.period_ms}
                    status |= {"bitrates": progress.bitrates, "latency_ms": self._published.latency()}
            if self._load.short is not None:
                status["advice"] = [found.model_dump() for found in (*self._advice, self._load.short)]
            with suppress(OSError):
                self._spool.write_status(status)
            self._told_at = time.monotonic()

    def _encoding(self, progress: Progress, lag_ms: int) -> dict[str, object]:
        """What the stream's encoding needs and has; nothing is needed while its publisher is away."""
        assert self._slots is not None
        slots, before = self._slots(), self._load.short
        self._load.update(self._meter.totals(), slots, published_ms=progress.total_ms, lag_ms=lag_ms)
        short = self._load.short
        if short is not None and (before is None or before.code != short.code):
            log.info("%s/%s: %s", self._spool.stream, self._spool.broadcast, short.text)
        found = figures(self._load, slots)
        return {"encoding": found if self.state in _ENCODING else found | {"demand": 0.0}}

    def _lag_ms(self, progress: Progress) -> int:
        """Media received but not yet published, over all sessions, in milliseconds."""
        sessions = [one for one in self._spool.sessions() if progress.session is None or one.name >= progress.session]
        done = {progress.session: progress.period_ms}
        return sum(max(0, received_ms(session) - done.get(session.name, 0)) for session in sessions)
