"""How much encoding a live broadcast needs, and what is short if its chunks are not ready in time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from streamwave.ffmpeg.meter import Slots, Totals
from streamwave.spool.advice import Advice, falls_behind

#: Figures are those of the last minute.
WINDOW_S = 60.0
#: A stream younger than this is assumed to bring one second per second.
YOUNG_S = 10.0
#: A source that brings more than this per second is a file, which comes as fast as it is published, and cannot be late.
FAST = 1.2
#: Slots per second of video while no chunk has been encoded.
UNKNOWN_COST = 1.0
#: Chunks that wait, beyond those that are being encoded, for the stream to be late, and for it to be no longer late.
LATE_CHUNKS, IN_TIME_CHUNKS = 4, 2
#: What takes less time per chunk than this is not what a stream waits for.
NOTABLE_S = 0.5


@dataclass(frozen=True)
class _Sample:
    at_s: float
    received_s: float
    totals: Totals


class Load:
    """The load of one run, from samples of its ``meter``. ``clock`` is in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._samples = deque[_Sample]()
        self._published_s: float | None = None  # before this run
        self._cost = UNKNOWN_COST
        self._late = False
        self.demand = 0.0
        self.short: Advice | None = None

    def update(self, totals: Totals, slots: Slots, *, published_ms: int, lag_ms: int) -> None:
        """Take a sample: media published and not yet published, over all sessions, and what the run has done.

        ``demand`` is the number of slots that the stream needs: slot seconds per second of video, times the video that has
        arrived in the last minute or waits, per minute; a file needs as many as keep up with its playback. ``short`` says what
        the stream waits for, if it is late.
        """
        now = self._clock()
        if self._published_s is None:
            self._published_s = published_ms / 1000
        self._samples.append(_Sample(now, (published_ms + lag_ms) / 1000, totals))
        while len(self._samples) > 2 and now - self._samples[1].at_s >= WINDOW_S:
            self._samples.popleft()
        first, last = self._samples[0], self._samples[-1]
        media_s = totals.media_s - first.totals.media_s
        if media_s > 0:
            self._cost = self._seconds("encode") / media_s
        age_s = now - first.at_s
        arrived = (last.received_s - first.received_s) / age_s if age_s >= YOUNG_S else 1.0
        chunk_s = totals.media_s / totals.chunks if totals.chunks else 0.0
        encoded_s = totals.media_s - (published_ms / 1000 - self._published_s)  # and not published yet
        # Little's law: so much is being encoded at any time if nothing waits.
        waiting_s = max(0.0, lag_ms / 1000 - max(0.0, encoded_s) - arrived * self._cost * chunk_s)
        fast = arrived > FAST
        self.demand = self._cost * (1.0 if fast else arrived + waiting_s / WINDOW_S)
        late_s = lag_ms / 1000 - self._cost * chunk_s
        self._late = chunk_s > 0 and not fast and late_s > chunk_s * (IN_TIME_CHUNKS if self._late else LATE_CHUNKS)
        self.short = self._short(slots, round(waiting_s / chunk_s), lag_ms) if self._late else None

    def _seconds(self, stage: str) -> float:
        first, last = self._samples[0].totals.seconds, self._samples[-1].totals.seconds
        return last.get(stage, 0.0) - first.get(stage, 0.0)

    def _short(self, slots: Slots, waiting: int, lag_ms: int) -> Advice:
        chunks = max(1.0, self._samples[-1].totals.chunks - self._samples[0].totals.chunks)
        spent = {stage: self._seconds(stage) / chunks for stage in ("wait", "transfer", "dispatch", "package", "store")}
        stage = max(spent, key=lambda one: spent[one])
        # While every slot is busy, chunks may wait in the spool, where nobody counts the time.
        if slots.busy >= slots.slots and spent[stage] < spent["wait"] + self._seconds("encode") / chunks:
            stage = "wait"
        elif spent[stage] < NOTABLE_S:
            stage = "in-flight"
        return falls_behind(stage, spent.get(stage, 0.0), slots, waiting=max(waiting, slots.queued), lag_ms=lag_ms)


def figures(load: Load, slots: Slots) -> dict[str, Any]:
    """The fields of a status (docs/reference/status.md)."""
    return {
        "at": slots.at, "demand": round(load.demand, 2), "workers": slots.workers, "slots": slots.slots, "busy": slots.busy,
        "queued": slots.queued, "unusable": list(slots.unusable),
    }  # fmt: skip
