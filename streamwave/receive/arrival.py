"""Times for pictures that bear none: when they arrived (docs/decisions/0027-sources-without-times.md).

``Arrivals`` notes when the bytes of a connection came, ``ArrivalClock`` gives each picture the time of its first byte, but
for some trembling.
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

#: Distances that tell the usual one.
_STEPS = 32
#: For so long it is found out at the beginning; pictures that come closer together come at once.
_LOOK_S, _SHORTEST_S = Fraction(2), Fraction(1, 500)
#: How fast what trembles is drawn to when it arrived: by this part of the difference with each picture.
_PULL = Fraction(1, 8)
#: Pictures, and their bytes, that are held until it is known how many came together.
_MOST_HELD, _MOST_HELD_BYTES = 512, 32_000_000
#: Pieces that have come and whose pictures have not: many times what libavformat and we hold back.
_MOST_NOTED = 65_536
#: Packets have times in these units where those of their track are coarser.
_MICROSECOND = Fraction(1, 1_000_000)


class Arrivals:
    """When the bytes of one connection came. ``clock_ns`` never goes back, whatever happens to the time of day."""

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self._noted: deque[tuple[int, int]] = deque(maxlen=_MOST_NOTED)  # the first byte of a piece, and when it came
        self._asked = True

    def note(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """The same ``pieces``, each of which is noted when it comes."""
        position = 0
        for piece in pieces:
            if self._asked:
                self._noted.append((position, self._clock_ns()))
            position += len(piece)
            yield piece

    def forget(self) -> None:
        """Note nothing more: nobody will ask."""
        self._asked = False
        self._noted.clear()

    def at(self, position: int) -> Fraction:
        """When the byte at ``position`` came, in seconds; those before it must not be asked for any more."""
        while len(self._noted) > 1 and self._noted[1][0] <= position:
            self._noted.popleft()
        return Fraction(self._noted[0][1], 1_000_000_000)


class ArrivalClock:
    """Gives the packets of ``track`` times. ``put`` takes a packet, and at the end an empty one, and returns what is ready.

    A picture is shown when it arrived, but for the trembling of networks. Those that come together, sooner after one another
    than half the usual distance, were held up on their way: they are spread over the time since the picture before.
    """

    def __init__(self, arrivals: Arrivals, track: Any) -> None:
        self._arrivals = arrivals
        self._base = min(Fraction(track.time_base), _MICROSECOND)
        self._in_order = not track.codec_context.has_b_frames
        self._position = 0  # of the byte behind the latest packet
        self._first: list[tuple[Packet[Any], Fraction]] | None = []  # until the usual distance is known
        self._steps: deque[Fraction] = deque(maxlen=_STEPS)
        self._held: list[Packet[Any]] = []
        self._held_bytes = 0
        self._came = Fraction(0)  # when the latest that is held came, in seconds
        self._before: tuple[Fraction, Fraction] | None = None  # when the last one that is not held came, and is shown
        # More came at once than is held: nobody sends it in real time, so its arrival is no clock until it is late again.
        self._at_once = False
        self._ahead = Fraction(0)  # by how much the clock is ahead of arrivals for good

    def put(self, packet: Packet[Any]) -> list[Packet[Any]]:
        """The packets that are ready; an empty packet asks for the rest."""
        if not packet.size:
            return [*(self._begin(self._first) if self._first else []), *self._released(), packet]
        # Parsers tell the block in which a packet begins, or nothing; there, one packet follows the other.
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
        """Find out how far apart pictures come, and take those that told it. A server may send the first of them at once."""
        self._first = None
        times = [came for _, came in first]
        late = [came for came in times if came - times[0] >= _LOOK_S / 2]
        late = late if len(late) > 2 else times
        step = _without_pause(late)
        if step >= _SHORTEST_S:
            self._steps.extend([_rounded(step)] * (_STEPS // 4))
            begins = None
            if late is not times and _without_pause(times[: 1 - len(late)]) * 2 < step:
                begins = min(came - number * step for number, came in enumerate(times))  # they were made before
            elif abs(times[-1] - times[0] - (len(times) - 1) * step) < step:
                # One of them alone would be early or late.
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
        """The usual distance of pictures, without pauses; what the demuxer supposes where nothing tells."""
        if not self._steps:
            return (packet.duration or 0) * Fraction(packet.time_base or 0) or Fraction(1, 25)
        return _usual(self._steps)

    def _released(self) -> list[Packet[Any]]:
        """What is held, with its times."""
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
                    step = min(step, (last - shown) / count)  # close to each other where a pause came before
        last = _rounded(last)
        self._before = self._came, last
        for back, packet in enumerate(reversed(ready)):
            self._stamp(packet, last - back * step, step)
        return ready

    def _stamp(self, packet: Packet[Any], at: Fraction, step: Fraction) -> None:
        """Let ``packet`` be decoded ``at``, and shown as many pictures later as the demuxer says, if it says that."""
        length, pts, dts = packet.duration or 0, packet.pts, packet.dts
        packet.duration = round_half_up(length * Fraction(packet.time_base or 0) / self._base)
        packet.time_base, packet.dts, packet.pts = self._base, round_half_up(at / self._base), None
        if self._in_order:
            packet.pts = packet.dts
        elif pts is not None and dts is not None:
            later = Fraction(pts - dts, length) if length else 0
            packet.pts = round_half_up((at + later * step) / self._base)


def _rounded(at: Fraction) -> Fraction:
    """To the nanosecond, the clock's own step: what is computed from itself would get longer with each picture."""
    return Fraction(round_half_up(at * 1_000_000_000), 1_000_000_000)


def _without_pause(times: list[Fraction]) -> Fraction:
    """The mean distance of times that follow each other, without a pause that is longer than all others together."""
    steps = [after - came for came, after in pairwise(times)]
    if len(steps) > 2 and max(steps) * 2 > sum(steps):
        steps.remove(max(steps))
    return sum(steps, Fraction(0)) / len(steps) if steps else Fraction(0)


def _usual(steps: Collection[Fraction]) -> Fraction:
    """The usual one, by the mean of those that are no pauses."""
    if not steps:
        return Fraction(0)
    middle = sorted(steps)[len(steps) // 2]
    close = [step for step in steps if step <= 3 * middle]
    return sum(close, Fraction(0)) / len(close)
