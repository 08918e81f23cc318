"""Where the time of a session's chunks goes, and how many slots there are to encode them."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

#: From the run's acceptance of a chunk to its transcode (Prefect); waiting for a slot; to a worker and back; in FFmpeg;
#: packaging; storing.
Stage = Literal["dispatch", "wait", "transfer", "encode", "package", "store"]


@dataclass(frozen=True)
class Slots:
    """The slots for FFmpeg processes at ``at``, a scheduler or this machine, and what they do for all runs there.

    ``workers`` can be used; of their ``slots``, ``busy`` are in use, and ``idle_workers`` have a free one. ``queued`` chunks
    wait for a slot. Workers that are ``unusable`` have another encoder.
    """

    at: str
    workers: int = 0
    slots: int = 0
    busy: int = 0
    queued: int = 0
    idle_workers: int = 0
    unusable: tuple[str, ...] = ()


@dataclass(frozen=True)
class Totals:
    """Seconds by stage, including what is in progress, and how much has been encoded: chunks, and seconds of media."""

    seconds: Mapping[str, float]
    chunks: float = 0.0
    media_s: float = 0.0


class Meter:
    """Adds up the time that the chunks of one run have spent in each stage. Thread-safe.

    ``renditions``: number of video renditions of a chunk. ``clock`` is in seconds.
    """

    def __init__(self, renditions: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self._renditions, self._clock = max(renditions, 1), clock
        self._seconds: dict[str, float] = {}
        self._open: dict[int, tuple[Stage, float]] = {}
        self._accepted: dict[int, float] = {}
        self._encoded = 0
        self._media_s = 0.0
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def add(self, stage: Stage, seconds: float) -> None:
        """Add to a stage what was measured elsewhere."""
        with self._lock:
            self._seconds[stage] = self._seconds.get(stage, 0.0) + max(seconds, 0.0)

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[Callable[[Stage], None]]:
        """The time of the body belongs to ``stage``, or from when that is called to the one given to the yielded function."""
        number = next(self._numbers)

        def turn(to: Stage | None) -> None:
            now = self._clock()
            with self._lock:
                was, began = self._open.pop(number, (stage, now))
                self._seconds[was] = self._seconds.get(was, 0.0) + now - began
                if to is not None:
                    self._open[number] = (to, now)

        turn(stage)
        try:
            yield turn
        finally:
            turn(None)

    def accepted(self, number: int) -> None:
        """The run has accepted chunk ``number``."""
        with self._lock:
            self._accepted[number] = self._clock()

    def dispatched(self, number: int) -> None:
        """A transcode of chunk ``number`` starts."""
        with self._lock:
            accepted = self._accepted.pop(number, None)
        if accepted is not None:
            self.add("dispatch", self._clock() - accepted)

    def encoded(self, media_s: float, renditions: int) -> None:
        """So many renditions of ``media_s`` seconds have been encoded."""
        with self._lock:
            self._encoded += renditions
            self._media_s += media_s * renditions / self._renditions

    def totals(self) -> Totals:
        """The sums so far."""
        now = self._clock()
        with self._lock:
            seconds = dict(self._seconds)
            for stage, began in self._open.values():
                seconds[stage] = seconds.get(stage, 0.0) + now - began
            return Totals(seconds, self._encoded / self._renditions, self._media_s)
