"""What the reconciler remembers of each broadcast while the service runs: failures, back-off, and why nothing runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

#: A run that held its broadcast for this long was healthy: if it dies, failures are counted from one again.
HEALTHY_S = 30.0
MAX_DELAY_S = 30.0
#: The maximum delay for a broadcast that is no longer received: its chunks are safe in the spool.
MAX_IDLE_DELAY_S = 300.0
#: After this many failures in a row the state is FAILED; runs are still started.
FAILED_AFTER = 3

#: A run must take its broadcast's lock within this time after it starts; the limit doubles after each run that fails to.
START_LIMIT_S = 15.0
MAX_START_LIMIT_S = 120.0
#: A worker that has taken a run from its pool must start it within this time, which includes fetching an image.
WORKER_LIMIT_S = 300.0


def start_limit_s(failures: int) -> float:
    """How long a start may take after ``failures`` in a row.

    With a fixed limit, a busy machine would kill every run shortly before it is ready, for ever.
    """
    return min(MAX_START_LIMIT_S, START_LIMIT_S * 2.0 ** min(failures, 10))


def delay_s(failures: int, *, receiving: bool = True) -> float:
    """How long to wait before the next start: none after the first failure, then 1, 2, 4 … up to 30 s.

    Up to five minutes for a broadcast that is not being received.
    """
    most = MAX_DELAY_S if receiving else MAX_IDLE_DELAY_S
    return 0.0 if failures <= 1 else min(most, 2.0 ** min(failures - 2, 20))


@dataclass
class Watch:
    """One broadcast. All times are those of ``time.monotonic()``."""

    wanted: bool = False  # StartStream was called, so a run is started without waiting
    failures: int = 0  # in a row
    attempts: int = 0
    next_start_at: float = 0.0
    alive_since: float | None = None  # when its run was first seen to hold the broadcast
    started_at: float | None = None  # when its run was started; None once the run holds the broadcast
    released_at: float | None = None  # when its run was first seen to have released the broadcast
    tried_at: float = 0.0  # the last start
    waiting_since: float | None = None  # when it began to wait for a run
    seen: tuple[object, float] | None = None  # the last state at Prefect of a worker's run, and since when
    without_writer_since: dict[str, float] = field(default_factory=dict)  # by session
    ended_sessions: set[str] = field(default_factory=set)
    receiving: bool = True  # a session is being received, or may still begin
    error: str = ""
    changed: threading.Condition = field(default_factory=threading.Condition)

    def notify(self) -> None:
        """Wake the threads that wait for ``changed``."""
        with self.changed:
            self.changed.notify_all()

    def alive(self) -> None:
        """Record that the run holds the broadcast."""
        now = time.monotonic()
        if self.alive_since is None:
            self.alive_since, self.started_at, self.released_at = now, None, None
            self.notify()
        # If nothing is received, a long-lived run may just be waiting for a dead output, which is not healthy.
        if now - self.alive_since > HEALTHY_S and self.receiving:
            self.failures = 0
        self.error = ""

    def died(self, why: str) -> None:
        """Record that the run is gone although the broadcast is not finished."""
        now = time.monotonic()
        healthy = self.alive_since is not None and now - self.alive_since > HEALTHY_S and self.receiving
        self.failures = 1 if healthy else self.failures + 1
        self.alive_since = self.started_at = self.released_at = None
        self.next_start_at = now + delay_s(self.failures, receiving=self.receiving)
        self.error = why

    def seen_for_s(self, state: object) -> float:
        """For how long Prefect has reported ``state`` of the run, by this machine's clock: the server's may be wrong."""
        now = time.monotonic()
        if self.seen is None or self.seen[0] != state:
            self.seen = (state, now)
        return now - self.seen[1]

    @property
    def has_run(self) -> bool:
        """Whether a run is alive or being started."""
        return self.alive_since is not None or self.started_at is not None

    @property
    def starting(self) -> bool:
        """Whether a run was started that does not hold the broadcast yet."""
        return self.started_at is not None and self.alive_since is None

    @property
    def stuck(self) -> bool:
        """Whether its runs fail and nothing is being received. A stuck broadcast does not count against max_streams."""
        return self.failures > 0 and not self.receiving

    @property
    def failed(self) -> bool:
        """Whether its runs have failed ``FAILED_AFTER`` times in a row."""
        return self.failures >= FAILED_AFTER


class Watches:
    """The watches by the broadcast's folder. Thread-safe."""

    def __init__(self) -> None:
        self._by_folder: dict[Path, Watch] = {}
        self._lock = threading.Lock()

    def of(self, folder: Path) -> Watch:
        """The watch of a broadcast; made if there is none."""
        with self._lock:
            return self._by_folder.setdefault(folder, Watch())

    def known(self, folder: Path) -> Watch | None:
        """The watch of a broadcast; None if there is none."""
        with self._lock:
            return self._by_folder.get(folder)

    def by_stream(self) -> list[tuple[str, Watch]]:
        """Every watch with the stream of its broadcast."""
        with self._lock:
            return [(folder.parent.name, watch) for folder, watch in self._by_folder.items()]

    @property
    def active(self) -> int:
        """How many runs are alive or being started, without those of stuck broadcasts."""
        return sum(watch.has_run and not watch.stuck for _stream, watch in self.by_stream())

    @property
    def starting(self) -> int:
        """How many runs were started that do not hold their broadcasts yet."""
        return sum(watch.starting for _stream, watch in self.by_stream())

    def keep(self, folders: Iterable[Path]) -> None:
        """Drop the watches of all other broadcasts, and wake their waiters."""
        kept = set(folders)
        with self._lock:
            dropped = [self._by_folder.pop(folder) for folder in set(self._by_folder) - kept]
        for watch in dropped:
            watch.notify()
