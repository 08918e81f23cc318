"""Whether a chunk's renditions are divided between two workers: more CPU time for a shorter wait, so only if both are there.

Measured with the default ladder: the largest rendition alone and the others together take 0.5 to 0.6 of the time of all in one
process, and 1.0 to 1.2 times its CPU time (docs/decisions/0031-one-stream-on-many-machines.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from streamwave.ffmpeg.meter import Slots

#: A worker that encodes a whole chunk in less than this multiple of the chunk's duration delays the stream little.
SLOW = 1.5
#: Workers with a free slot that it takes: one for each half.
IDLE_WORKERS = 2
#: The chunks that must have found this so, one after another, before the next one is divided.
CALM_CHUNKS = 3
#: How long chunks stay whole after one was in the way of others, in seconds.
HOLD_S = 60.0


def pays(slots: Slots, encode_s: float, media_s: float) -> bool:
    """Whether dividing a chunk of ``media_s`` seconds, which takes ``encode_s`` in one process, shortens the stream's delay and
    nobody waits for it.
    """
    return slots.queued == 0 and slots.idle_workers >= IDLE_WORKERS and encode_s > SLOW * media_s


class Splitting:
    """Decides for one chunk after another. Not thread-safe. ``clock`` is in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._cost = 0.0  # seconds in one process per second of media
        self._calm = 0
        self._whole_until = 0.0

    def took(self, media_s: float, encode_s: float) -> None:
        """The last chunk took ``encode_s``; of a divided one, the sum of its halves."""
        self._cost = encode_s / media_s if media_s else 0.0

    def next(self, slots: Slots, media_s: float) -> bool:
        """Whether to divide the next chunk, of ``media_s`` seconds."""
        now, divided = self._clock(), self._calm >= CALM_CHUNKS
        if divided and slots.queued:  # it took slots that others need
            self._whole_until = now + HOLD_S
        if now < self._whole_until or not pays(slots, self._cost * media_s, media_s):
            self._calm = 0
            return False
        self._calm += 1
        return divided
