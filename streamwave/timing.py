"""Exact media time: the frame grid, its timescale, and where chunks, segments and AAC frames lie on it.

Received time is an integer count of milliseconds since the session's origin (its first picture). Published time is an
integer count of ticks. Between the two lies the frame grid: picture ``n`` is shown from ``n / rate`` seconds on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

#: Samples in one AAC-LC frame (ISO/IEC 14496-3, 4.5.2.1.1).
AAC_FRAME = 1024

#: Rates that cameras, encoders and files really have; a measured or stated rate close to one of them is that one.
STANDARD_RATES: tuple[Fraction, ...] = tuple(
    Fraction(n, d)
    for n, d in [
        (10, 1), (12, 1), (25, 2), (15000, 1001), (15, 1), (20, 1), (24000, 1001), (24, 1), (25, 1), (30000, 1001),
        (30, 1), (48000, 1001), (48, 1), (50, 1), (60000, 1001), (60, 1), (100, 1), (120000, 1001), (120, 1),
    ]
)  # fmt: skip

#: Pictures per second that a rendition can have at most; faster sources are thinned out to this.
MAX_RATE = Fraction(120)
#: The same for a source whose rate varies: the grid is filled up with repeated pictures, so that a finer one costs.
MOST_VARIABLE = Fraction(60)
#: Below this a measured rate says that little moved, not how fast the source can be.
SLOWEST = Fraction(10)


def round_half_up(value: Fraction | int) -> int:
    """Nearest integer, halves up. Python's ``round`` goes to even numbers, which would make seams irregular."""
    numerator, denominator = value.numerator, value.denominator
    return (2 * numerator + denominator) // (2 * denominator)


def whole_ms(seconds: Fraction) -> int:
    """Seconds as whole milliseconds, halves up."""
    return round_half_up(seconds * 1000)


@dataclass(frozen=True)
class Grid:
    """A constant frame rate and the timescale that represents it exactly.

    ``timescale`` is in ticks per second, ``frame_ticks`` in ticks: ``rate == timescale / frame_ticks`` holds exactly.
    """

    rate: Fraction

    def __post_init__(self) -> None:
        if self.rate <= 0:
            raise ValueError(f"a frame rate must be positive, not {self.rate}")

    @property
    def _factor(self) -> int:
        # At least a thousand ticks a second: players round badly in coarse timescales.
        return 1 if self.rate.numerator >= 1000 else 1000

    @property
    def timescale(self) -> int:
        """Ticks per second."""
        return self.rate.numerator * self._factor

    @property
    def frame_ticks(self) -> int:
        """Duration of one picture in ticks."""
        return self.rate.denominator * self._factor

    def frame_at_ms(self, ms: int) -> int:
        """The picture whose grid point is nearest to ``ms`` milliseconds."""
        return round_half_up(Fraction(ms) * self.rate / 1000)

    def ticks(self, frame: int) -> int:
        """Start of picture ``frame`` in ticks."""
        return frame * self.frame_ticks

    def aac_frame_at(self, frame: int, sample_rate: int) -> int:
        """Index of the AAC frame whose start is nearest to the start of picture ``frame``."""
        return round_half_up(Fraction(frame) / self.rate * sample_rate / AAC_FRAME)


def aac_frame_at_ms(ms: int, sample_rate: int) -> int:
    """Index of the AAC frame whose start is nearest to ``ms`` milliseconds."""
    return round_half_up(Fraction(ms * sample_rate, 1000 * AAC_FRAME))


def snap_rate(rate: Fraction, tolerance: Fraction = Fraction(1, 2500)) -> Fraction:
    """The standard rate within ``tolerance`` (relative) of ``rate``, or ``rate`` with a denominator of at most 1001."""
    best = min(STANDARD_RATES, key=lambda standard: abs(standard - rate))
    if abs(best - rate) <= rate * tolerance:
        return best
    return rate.limit_denominator(1001)


def fits_grid(starts_ms: Sequence[int], rate: Fraction) -> bool:
    """Whether pictures starting at ``starts_ms`` (sorted, first is the origin) fall on grid points of ``rate`` one by one.

    Each must lie within 0.4 of a frame of its grid point, and no grid point may be taken twice or left out.
    """
    limit = Fraction(2, 5) * 1000 / rate
    return all(
        abs(ms - starts_ms[0] - Fraction(1000 * n) / rate) <= max(limit, Fraction(1)) for n, ms in enumerate(starts_ms)
    )


def varies(starts_ms: Sequence[int], rate: Fraction) -> bool:
    """Whether pictures starting at ``starts_ms`` (sorted) come at another rate than ``rate``, but for a few gaps.

    More than one in twenty of their distances is then off by 0.4 of a picture.
    """
    steps = [b - a for a, b in zip(starts_ms, starts_ms[1:], strict=False)]
    limit = max(Fraction(2, 5) * 1000 / rate, Fraction(1))
    return sum(1 for step in steps if abs(step - 1000 / rate) > limit) * 20 > len(steps)


def _exact(starts_ms: Sequence[int], rate: Fraction) -> bool:
    """Whether pictures starting at ``starts_ms`` (sorted) are what ``rate`` gives when it is rounded to milliseconds."""
    return all(abs(ms - starts_ms[0] - Fraction(1000 * n) / rate) <= 1 for n, ms in enumerate(starts_ms))


def _measured(starts: Sequence[int]) -> Fraction:
    """Pictures per second over two or more of them."""
    return Fraction(1000 * (len(starts) - 1), max(starts[-1] - starts[0], 1))


def _steadiest(starts: Sequence[int]) -> Sequence[int]:
    """The longest run of pictures that are equally far apart, to the millisecond."""
    steps = [b - a for a, b in zip(starts, starts[1:], strict=False)]
    usual = sorted(steps)[len(steps) // 2]
    edges = [-1, *(n for n, step in enumerate(steps) if abs(step - usual) > 1), len(steps)]
    first, last = max(zip(edges, edges[1:], strict=False), key=lambda pair: pair[1] - pair[0])
    return starts[first + 1 : last + 1]


def _constant_rate(stated: Fraction | None, starts: Sequence[int]) -> Fraction | None:
    """The rate at which pictures starting at ``starts`` (milliseconds, sorted, two or more) come; None if it varies."""
    measured = _measured(starts)
    near = sorted(STANDARD_RATES, key=lambda standard: abs(standard - measured))[:3]
    said = [stated] if stated is not None and stated <= MAX_RATE else []
    # 30 and 30000/1001 are 2 ms apart after two seconds: told apart where the times are exact, believed where not.
    for rate in [*said, *near]:
        if _exact(starts, rate):
            return rate
    fitting = [rate for rate in [*said, *near] if rate in STANDARD_RATES and fits_grid(starts, rate)]
    if fitting:
        # Unsaid, the faster of the two: on its grid a picture is shown twice now and then, on the other it would be lost.
        return fitting[0] if said == fitting[:1] else max(r for r in fitting if r <= fitting[0] * Fraction(501, 500))
    run = _steadiest(starts)
    if len(run) * 2 > len(starts) and len(run) > 9:
        # But for its first picture, or a gap: libavformat's own files in fragments have a first one that lasts too long.
        for rate in [*said, *sorted(STANDARD_RATES, key=lambda one: abs(one - _measured(run)))[:3]]:
            if _exact(run, rate):
                return rate
    if said and fits_grid(starts, said[0]):
        return said[0]
    return min(snap_rate(measured), MAX_RATE) if fits_grid(starts, measured) else None


def choose_rate(stated: Fraction | None, starts_ms: Sequence[int]) -> Fraction:
    """The rate of the frame grid for a source.

    ``stated`` is what the container says; ``starts_ms`` are the presentation times of the first chunk's pictures in
    milliseconds. The stated rate wins if the pictures fall on its grid; else the standard rate on whose grid they
    fall; else the pictures come at a variable rate and the grid is made fine enough for most of their distances.
    """
    starts = sorted(starts_ms)
    if stated is not None and not 0 < stated <= 1000:
        stated = None
    average, stated = stated, snap_rate(stated) if stated is not None else None
    if len(starts) < 2 or starts[-1] <= starts[0]:
        return min(stated or Fraction(30), MAX_RATE)
    # Some containers state no rate but an average, which is a little off where the times tremble.
    exactly = average is not None and stated is not None and abs(average - stated) <= stated / 50_000
    constant = _constant_rate(stated if exactly else None, starts)
    # A screen on which nothing moves gives a picture a second: what it gives when something does is not known yet.
    if constant is not None and (constant >= SLOWEST or constant == stated):
        return constant
    measured = _measured(starts)
    said = stated if stated is not None and stated <= MOST_VARIABLE else None
    if said is not None and abs(said - measured) <= said / 20:
        return said  # constant, but stamped by a clock that trembles
    steps = sorted(b - a for a, b in zip(starts, starts[1:], strict=False) if b > a)
    # Three of four pictures have a place of their own even if they come in bursts.
    usual = snap_rate(Fraction(1000, steps[len(steps) // 4]), tolerance=Fraction(1, 25))
    least = said or (SLOWEST if constant is None else Fraction(30))
    return min(max(usual, snap_rate(measured, tolerance=Fraction(1, 25)), least), MOST_VARIABLE)


def thinned(rate: Fraction, starts_ms: Sequence[int]) -> Fraction | None:
    """The pictures per second of a source that has more of them than a grid of ``rate`` can have at most, else None."""
    if rate < MOST_VARIABLE or len(starts_ms) < 10:
        return None
    measured = _measured(sorted(starts_ms))
    return measured if measured > rate * Fraction(21, 20) else None


def other_rate(rate: Fraction, starts_ms: Sequence[int]) -> Fraction | None:
    """The constant rate of a chunk's pictures if a grid of ``rate`` would lose or repeat some of them, else None.

    Half the rate and the like are no other rate: each picture is then shown twice. Nor is anything that is seen for less
    than a second.
    """
    starts = sorted(starts_ms)
    if len(starts) < 10 or starts[-1] - starts[0] < 900 or fits_grid(starts, rate):
        return None
    found = _constant_rate(None, starts)
    if found is None or found not in STANDARD_RATES or (rate / found).denominator == 1:
        return None
    # Some pictures that are missing, or a clock that trembles, do not make another rate.
    return found if abs(found - rate) > rate / 50 else None


def split_evenly(frame_count: int, target: Fraction) -> tuple[int, ...]:
    """Lengths in frames of the segments of a chunk of ``frame_count`` frames, each as near to ``target`` as can be.

    The result sums to ``frame_count`` and its members differ by at most one, so that a long chunk (a source with
    rare keyframes) still gives players segments of the usual length.
    """
    if frame_count <= 0:
        raise ValueError(f"a chunk has at least one frame, not {frame_count}")
    # Only a chunk of at least one and a half targets is worth a split.
    parts = max(1, min(frame_count, round_half_up(Fraction(frame_count) / target)))
    edges = [frame_count * i // parts for i in range(parts + 1)]
    return tuple(b - a for a, b in zip(edges, edges[1:], strict=False))
