"""Timestamps for pictures that have none: the times of their arrival (docs/decisions/0027-sources-without-times.md).

``Arrivals`` records when the bytes of a connection came; ``ArrivalClock`` gives each picture the time of its first byte,
without the jitter.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any

from av import Packet

from streamwave.timing import round_half_up

#: The usual distance between pictures is taken from this many.
_STEPS = 32
#: The first seconds, from which the usual distance is found; pictures with a shorter distance come in a burst.
_LOOK_S, _SHORTEST_S = Fraction(2), Fraction(1, 500)
#: How fast the clock follows arrivals in spite of jitter: by this part of the difference with each picture.
_PULL = Fraction(1, 8)
#: Pictures, and their bytes, that are held until it is known how many of them came together.
_MOST_HELD, _MOST_HELD_BYTES = 512, 32_000_000
#: Pieces whose arrival is recorded: many times the data that libavformat and the reader hold back.
_MOST_NOTED = 65_536
#: The time base of packets whose track has a coarser one.
_MICROSECOND = Fraction(1, 1_000_000)


class Arrivals:
    """Records when the bytes of one connection arrived. ``clock_ns`` is monotonic."""

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self._noted: deque[tuple[int, int]] = deque(maxlen=_MOST_NOTED)  # position of a piece, and its arrival
        self._asked = True

    def note(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Pass on ``pieces`` and record the arrival of each."""
        position = 0
        for piece in pieces:
            if self._asked:
                self._noted.append((position, self._clock_ns()))
            position += len(piece)
            yield piece

    def forget(self) -> None:
        """Stop recording, because the times are not needed."""
        self._asked = False
        self._noted.clear()

    def at(self, position: int) -> Fraction:
        """Arrival of the byte at ``position``, in seconds. Later calls must not ask for earlier bytes."""
        while len(self._noted) > 1 and self._noted[1][0] <= position:
            self._noted.popleft()
        return Fraction(self._noted[0][1], 1_000_000_000)


class ArrivalClock:
    """Gives timestamps to the packets of ``track``.

    A picture is shown when it arrived, without the jitter of the network. Pictures that come together, at less than half the
    usual distance, were delayed on their way: they are spread over the time since the picture before them.
    """

    def __init__(self, arrivals: Arrivals, track: Any) -> None:
        self._arrivals = arrivals
        self._base = min(Fraction(track.time_base), _MICROSECOND)
        self._in_order = not track.codec_context.has_b_frames
        self._position = 0  # of the byte after the latest packet
        self._first: list[tuple[Packet[Any], Fraction]] | None = []  # until the usual distance is known
        self._steps: deque[Fraction] = deque(maxlen=_STEPS)
        self._held: list[Packet[Any]] = []
        self._held_bytes = 0
        self._came = Fraction(0)  # arrival of the latest picture that is held, in seconds
        #: Arrival and presentation time of the last picture that is not held.
        self._before: tuple[Fraction, Fraction] | None = None
        # More pictures came in a burst than are held, so the source is not in real time: ignore arrivals until one is late.
        self._at_once = False
        self._ahead = Fraction(0)  # by how much the clock is permanently ahead of arrivals

    def put(self, packet: Packet[Any]) -> list[Packet[Any]]:
        """Take a packet; the packets that are ready. An empty packet asks for the rest."""
        if not packet.size:
            return [*(self._begin(self._first) if self._first else []), *self._released(), packet]
        # Parsers give the position of the block in which a packet begins, or none; then the packet follows the one before.
        position = max(packet.pos or 0, self._position)
        self._position = position + packet.size
        came = self._arrivals.at(position)
        if self._first is None:
            return self._take(packet, came)
        self._first.append((packet, came))
        size = sum(one.size for one, _ in self._first)
        enough = came - self._first[0][1] >= _LOOK_S or len(self._first) == _MOST_HELD or size > _MOST_HELD_BYTES
        return self._begin(self._first) if enough else []

    def _begin(self, first: list[tuple[Packet[Any], Fraction]]) -> list[Packet[Any]]:
        """Find the usual distance between pictures, and take those held so far. A server may send the first ones in a burst."""
        self._first = None
        times = [came for _, came in first]
        late = [came for came in times if came - times[0] >= _LOOK_S / 2]
        late = late if len(late) > 2 else times
        step = _without_pause(late)
        if step >= _SHORTEST_S:
            self._steps.extend([_rounded(step)] * (_STEPS // 4))
            begins = None
            if late is not times and _without_pause(times[: 1 - len(late)]) * 2 < step:
                begins = min(came - number * step for number, came in enumerate(times))  # the burst was made earlier
            elif abs(times[-1] - times[0] - (len(times) - 1) * step) < step:
                # The arrival of a single picture could be early or late.
                begins = sum(times, Fraction(0)) / len(times) - (len(times) - 1) * step / 2
            if begins is not None:
                self._before = (_rounded(begins - step),) * 2
        self._at_once = len(times) > 1 and step < _SHORTEST_S
        return [ready for packet, came in first for ready in self._take(packet, came)]

    def _take(self, packet: Packet[Any], came: Fraction) -> list[Packet[Any]]:
        ready: list[Packet[Any]] = []
        together = came - self._came < self._step(packet) / 2
        if self._held and (not together or len(self._held) == _MOST_HELD or self._held_bytes > _MOST_HELD_BYTES):
            ready = self._released()
            self._at_once = self._at_once or together
        self._held.append(packet)
        self._held_bytes += packet.size
        self._came = came
        return ready

    def _step(self, packet: Packet[Any]) -> Fraction:
        """The usual distance of pictures, without pauses; the demuxer's assumption while it is unknown."""
        if not self._steps:
            return (packet.duration or 0) * Fraction(packet.time_base or 0) or Fraction(1, 25)
        return _usual(self._steps)

    def _released(self) -> list[Packet[Any]]:
        """The pictures that are held, with timestamps."""
        ready, self._held, self._held_bytes = self._held, [], 0
        if not ready:
            return []
        count, step = len(ready), self._step(ready[0])
        last = self._came + self._ahead
        if self._before is not None:
            came, shown = self._before
            off = last - shown - count * step
            self._at_once = self._at_once and -off > step
            if self._at_once:
                self._ahead, last = _rounded(self._ahead - off), last - off
            else:
                self._steps.extend([_rounded((self._came - came) / count)] * min(count, _STEPS))
                if abs(off) * 4 <= step * 3:
                    last -= off * (1 - _PULL)
                    step = (last - shown) / count
                else:
                    last = max(last, shown + count * step / 4)
                    step = min(step, (last - shown) / count)  # close to each other after a pause
        last = _rounded(last)
        self._before = self._came, last
        for back, packet in enumerate(reversed(ready)):
            self._stamp(packet, last - back * step, step)
        return ready

    def _stamp(self, packet: Packet[Any], at: Fraction, step: Fraction) -> None:
        """Let ``packet`` be decoded ``at``, and shown as many pictures later as the demuxer says, if it does."""
        length, pts, dts = packet.duration or 0, packet.pts, packet.dts
        packet.duration = round_half_up(length * Fraction(packet.time_base or 0) / self._base)
        packet.time_base, packet.dts, packet.pts = self._base, round_half_up(at / self._base), None
        if self._in_order:
            packet.pts = packet.dts
        elif pts is not None and dts is not None:
            later = Fraction(pts - dts, length) if length else 0
            packet.pts = round_half_up((at + later * step) / self._base)


def _rounded(at: Fraction) -> Fraction:
    """Round to the nanosecond, the clock's resolution; otherwise the fractions would grow with each picture."""
    return Fraction(round_half_up(at * 1_000_000_000), 1_000_000_000)


def _without_pause(times: list[Fraction]) -> Fraction:
    """The mean distance between consecutive times, without a pause that is longer than all other distances together."""
    steps = [after - came for came, after in pairwise(times)]
    if len(steps) > 2 and max(steps) * 2 > sum(steps):
        steps.remove(max(steps))
    return sum(steps, Fraction(0)) / len(steps) if steps else Fraction(0)


def _usual(steps: Collection[Fraction]) -> Fraction:
    """The mean of ``steps`` without those that are pauses."""
    if not steps:
        return Fraction(0)
    middle = sorted(steps)[len(steps) // 2]
    close = [step for step in steps if step <= 3 * middle]
    return sum(close, Fraction(0)) / len(close)
