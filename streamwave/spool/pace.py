"""How often a stream may begin a session: each costs a process, a folder, and a break for viewers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator

from streamwave.errors import LimitError
from streamwave.spool.options import Options

#: In an hour a stream may begin this many times as many as in a minute.
HOUR_FACTOR = 30
#: Sessions of one connection. Its segmenter keeps the journals of all of them open until it ends.
MOST_OF_CONNECTION = 200


def windows(per_minute: int) -> Iterator[tuple[int, int]]:
    """How many sessions may begin in how many seconds."""
    yield per_minute, 60
    yield HOUR_FACTOR * per_minute, 3600


def too_often(stream: str, count: int, window_s: int) -> LimitError:
    """What to tell who has begun ``count`` sessions in ``window_s`` seconds."""
    return LimitError(
        f"{stream} has begun {count} sessions in {window_s // 60} min (STREAMWAVE_MAX_SESSIONS_PER_MINUTE); "
        "steady the encoder's network and picture size, and connect again later"
    )


class Pace:
    """The sessions that one connection to ``stream`` begins. ``clock`` in seconds; ``per_minute`` 0: no limit."""

    def __init__(self, stream: str, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._per_minute, self._clock = stream, per_minute, clock
        self._begun = deque[float](maxlen=HOUR_FACTOR * per_minute)
        self._count = 0

    def take(self) -> None:
        """Begin one more session.

        Raises:
            LimitError: it is too soon, or they were too many.
        """
        if not self._per_minute:
            return
        now = self._clock()
        for count, window_s in windows(self._per_minute):
            if len(self._begun) >= count and now - self._begun[-count] < window_s:
                raise too_often(self._stream, count, window_s)
        if self._count == MOST_OF_CONNECTION:
            raise LimitError(f"the pictures of {self._stream} have changed {self._count} times; connect again")
        self._count += 1
        self._begun.append(now)


def pace_of(options: Options) -> Pace:
    """That of the session with these options; files have none."""
    return Pace(options.spool.parents[1].name, options.stream_limits.sessions_per_minute if options.live else 0)
