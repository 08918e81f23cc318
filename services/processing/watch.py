"""What the reconciler remembers of one broadcast while it lives: deaths, back-off, and why nothing runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")

#: A run that held its broadcast for this long was healthy: its death is the first one again.
HEALTHY_S = 30.0
MAX_DELAY_S = 30.0
#: The same for a broadcast that nobody publishes any more: what waits is safe in the spool.
MAX_IDLE_DELAY_S = 300.0
#: After this many deaths in a row the state says FAILED; new runs are still started.
FAILED_AFTER = 3


#: A run that was started holds its broadcast within this time; after each one that did not, twice as much is allowed.
START_LIMIT_S = 15.0
MAX_START_LIMIT_S = 120.0
#: A worker that has taken a run from its pool makes a process, or fetches an image and makes a container, within this time.
WORKER_LIMIT_S = 300.0


def start_limit_s(failures: int) -> float:
    """How long a start may take after this many failures in a row.

    On a machine that is busy a fixed limit would end every start just before it comes to something, for ever.
    """
    return min(MAX_START_LIMIT_S, START_LIMIT_S * 2.0 ** min(failures, 10))


def delay_s(failures: int, *, receiving: bool = True) -> float:
    """How long to wait before the next start: at once after the first death, then 1, 2, 4 … up to 30 s.

    Up to five minutes where nothing is being received.
    """
    most = MAX_DELAY_S if receiving else MAX_IDLE_DELAY_S
    return 0.0 if failures <= 1 else min(most, 2.0 ** min(failures - 2, 20))


@dataclass
class Watch:
    """One broadcast. ``wanted``: somebody has called StartStream, so there is nothing to wait for."""

    wanted: bool = False
    failures: int = 0
    attempts: int = 0
    next_start_at: float = 0.0  # of time.monotonic(), like the other times
    alive_since: float | None = None
    started_at: float | None = None
    released_at: float | None = None
    tried_at: float = 0.0  # the last start
    waiting_since: float | None = None
    seen: tuple[object, float] | None = None  # what Prefect said of the run that a worker starts, and since when
    without_writer_since: dict[str, float] = field(default_factory=dict)  # by session
    ended_sessions: set[str] = field(default_factory=set)
    receiving: bool = True  # a session of it is being received, or may be
    error: str = ""
    changed: threading.Condition = field(default_factory=threading.Condition)

    def tell(self) -> None:
        """Wake those who wait for something to change."""
        with self.changed:
            self.changed.notify_all()

    def alive(self) -> None:
        """The run holds the broadcast."""
        now = time.monotonic()
        if self.alive_since is None:
            self.alive_since, self.started_at, self.released_at = now, None, None
            self.tell()
        # Where nothing is received, a run that waits for a dead output until its patience ends is no sign of health.
        if now - self.alive_since > HEALTHY_S and self.receiving:
            self.failures = 0
        self.error = ""

    def died(self, why: str) -> None:
        """The run is gone although the broadcast is not finished."""
        now = time.monotonic()
        healthy = self.alive_since is not None and now - self.alive_since > HEALTHY_S and self.receiving
        self.failures = 1 if healthy else self.failures + 1
        self.alive_since = self.started_at = self.released_at = None
        self.next_start_at = now + delay_s(self.failures, receiving=self.receiving)
        self.error = why

    def seen_for_s(self, what: object) -> float:
        """For how long Prefect has said ``what`` of the run. Our own clock counts: that of the server may be wrong."""
        now = time.monotonic()
        if self.seen is None or self.seen[0] != what:
            self.seen = (what, now)
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
        """Whether nobody publishes it any more and its runs come to nothing: it takes no place from live streams."""
        return self.failures > 0 and not self.receiving

    @property
    def failed(self) -> bool:
        """Whether it has died too often in a row."""
        return self.failures >= FAILED_AFTER


def next_starts(waiting: Mapping[T, Watch], slots: int) -> list[T]:
    """Which of the broadcasts that wait for a run get one now: at most ``slots``, whoever was tried longest ago first.

    Among those that were never tried the one that has waited longest comes first. So one that fails again and again takes
    its turn with the others, and all get theirs. Those that are stuck come last.
    """
    order = sorted(
        waiting, key=lambda one: (waiting[one].stuck, waiting[one].tried_at, waiting[one].waiting_since or 0.0)
    )
    return order[: max(0, slots)]


def one_each(
    waiting: Mapping[T, Watch], running: Iterable[tuple[str, Watch]], stream_of: Callable[[T], str]
) -> dict[T, Watch]:
    """``waiting`` without those whose stream has its runs already: one for what is being received of it, one for what was.

    So a publisher who leaves broadcast after broadcast behind, faster than they can be published, takes two places and no
    more. ``running`` are the streams of all broadcasts with their watches; one that is stuck takes no place.
    """
    taken = {(stream, watch.receiving) for stream, watch in running if watch.has_run and not watch.stuck}
    chosen: dict[T, Watch] = {}
    for one, watch in waiting.items():
        place = (stream_of(one), watch.receiving)
        if watch.stuck or place not in taken:
            chosen[one] = watch
            taken |= set() if watch.stuck else {place}
    return chosen
