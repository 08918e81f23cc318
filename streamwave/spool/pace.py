"""Limits how often a stream may start a session: each costs a process, a folder and an interruption for viewers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator

from streamwave.errors import LimitError
from streamwave.spool.options import Options

#: The limit per hour is this multiple of the limit per minute.
HOUR_FACTOR = 30
#: Sessions per connection. The segmenter keeps the journals of all of them open until it ends.
MOST_OF_CONNECTION = 200


def windows(per_minute: int) -> Iterator[tuple[int, int]]:
    """Yield the limits as (sessions, seconds)."""
    yield per_minute, 60
    yield HOUR_FACTOR * per_minute, 3600


def too_often(stream: str, count: int, window_s: int) -> LimitError:
    """The error for a stream that has started ``count`` sessions within ``window_s`` seconds."""
    return LimitError(
        f"{stream} has started {count} sessions in {window_s // 60} min (STREAMWAVE_MAX_SESSIONS_PER_MINUTE); "
        "stabilize the encoder's network and frame size, and reconnect later"
    )


class Pace:
    """Counts the sessions that one connection to ``stream`` starts. ``clock`` is in seconds; ``per_minute`` 0 is no limit."""

    def __init__(self, stream: str, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._per_minute, self._clock = stream, per_minute, clock
        self._begun = deque[float](maxlen=HOUR_FACTOR * per_minute)
        self._count = 0

    def take(self) -> None:
        """Count one more session.

        Raises:
            LimitError: a limit is exceeded.
        """
        if not self._per_minute:
            return
        now = self._clock()
        for count, window_s in windows(self._per_minute):
            if len(self._begun) >= count and now - self._begun[-count] < window_s:
                raise too_often(self._stream, count, window_s)
        if self._count == MOST_OF_CONNECTION:
            raise LimitError(f"the video format of {self._stream} has changed {self._count} times; reconnect")
        self._count += 1
        self._begun.append(now)


def pace_of(options: Options) -> Pace:
    """The ``Pace`` for a session with these options; files have no limit."""
    return Pace(options.spool.parents[1].name, options.stream_limits.sessions_per_minute if options.live else 0)
