"""Exact media time: the frame grid, its timescale, and where chunks, segments and AAC frames lie on it.

Received time is an integer number of milliseconds since the session's origin (its first frame). Published time is an
integer number of ticks. The frame grid connects the two: frame ``n`` is shown from ``n / rate`` seconds on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

#: Samples in one AAC-LC frame (ISO/IEC 14496-3, 4.5.2.1.1).
AAC_FRAME = 1024

#: Frame rates that are in common use; a measured or stated rate that is close to one of them is taken to be that one.
STANDARD_RATES: tuple[Fraction, ...] = tuple(
    Fraction(n, d)
    for n, d in [
        (10, 1), (12, 1), (25, 2), (15000, 1001), (15, 1), (20, 1), (24000, 1001), (24, 1), (25, 1), (30000, 1001),
        (30, 1), (48000, 1001), (48, 1), (50, 1), (60000, 1001), (60, 1), (100, 1), (120000, 1001), (120, 1),
    ]
)  # fmt: skip

#: Maximum frame rate of a rendition; frames of faster sources are dropped to reach it.
MAX_RATE = Fraction(120)
#: The same for a source with a variable frame rate. The grid is filled with repeated frames, so a finer grid costs more.
MAX_VARIABLE_RATE = Fraction(60)
#: A measured rate below this means that the source had little motion; it does not tell how fast the source can be.
MIN_PLAUSIBLE_RATE = Fraction(10)


def round_half_up(value: Fraction | int) -> int:
    """Nearest integer, halves rounded up. Python's ``round`` rounds halves to even, which would make seams irregular."""
    numerator, denominator = value.numerator, value.denominator
    return (2 * numerator + denominator) // (2 * denominator)


def whole_ms(seconds: Fraction) -> int:
    """Seconds as whole milliseconds, halves rounded up."""
    return round_half_up(seconds * 1000)


@dataclass(frozen=True)
class Grid:
    """A constant frame rate, and the timescale that represents it exactly.

    ``timescale`` is in ticks per second, ``frame_ticks`` is a frame's duration in ticks; ``rate == timescale / frame_ticks``.
    """

    rate: Fraction

    def __post_init__(self) -> None:
        if self.rate <= 0:
            raise ValueError(f"a frame rate must be positive, not {self.rate}")

    @property
    def _factor(self) -> int:
        # At least 1000 ticks per second, because players round badly in coarse timescales.
        return 1 if self.rate.numerator >= 1000 else 1000

    @property
    def timescale(self) -> int:
        """Ticks per second."""
        return self.rate.numerator * self._factor

    @property
    def frame_ticks(self) -> int:
        """Duration of one frame in ticks."""
        return self.rate.denominator * self._factor

    def frame_at_ms(self, ms: int) -> int:
        """The frame whose start on the grid is nearest to ``ms`` milliseconds."""
        return round_half_up(Fraction(ms) * self.rate / 1000)

    def ticks(self, frame: int) -> int:
        """Start of ``frame`` in ticks."""
        return frame * self.frame_ticks

    def aac_frame_at(self, frame: int, sample_rate: int) -> int:
        """Index of the AAC frame whose start is nearest to the start of video frame ``frame``."""
        return round_half_up(Fraction(frame) / self.rate * sample_rate / AAC_FRAME)


def aac_frame_at_ms(ms: int, sample_rate: int) -> int:
    """Index of the AAC frame whose start is nearest to ``ms`` milliseconds."""
    return round_half_up(Fraction(ms * sample_rate, 1000 * AAC_FRAME))


def snap_rate(rate: Fraction, tolerance: Fraction = Fraction(1, 2500)) -> Fraction:
    """The standard rate within the relative ``tolerance`` of ``rate``, else ``rate`` with a denominator of at most 1001."""
    best = min(STANDARD_RATES, key=lambda standard: abs(standard - rate))
    if abs(best - rate) <= rate * tolerance:
        return best
    return rate.limit_denominator(1001)


def fits_grid(starts_ms: Sequence[int], rate: Fraction) -> bool:
    """Whether frames that start at ``starts_ms`` (sorted; the first is the origin) fall one by one on the grid of ``rate``.

    Each must lie within 0.4 of a frame of its grid point, and no grid point may be used twice or skipped.
    """
    limit = Fraction(2, 5) * 1000 / rate
    return all(
        abs(ms - starts_ms[0] - Fraction(1000 * n) / rate) <= max(limit, Fraction(1)) for n, ms in enumerate(starts_ms)
    )


def varies(starts_ms: Sequence[int], rate: Fraction) -> bool:
    """Whether frames that start at ``starts_ms`` (sorted) are spaced differently from ``rate``, apart from a few gaps.

    They are if more than one in twenty intervals is off by 0.4 of a frame.
    """
    steps = [b - a for a, b in zip(starts_ms, starts_ms[1:], strict=False)]
    limit = max(Fraction(2, 5) * 1000 / rate, Fraction(1))
    return sum(1 for step in steps if abs(step - 1000 / rate) > limit) * 20 > len(steps)


def _exact(starts_ms: Sequence[int], rate: Fraction) -> bool:
    """Whether ``starts_ms`` (sorted) are the frame times of ``rate`` rounded to milliseconds."""
    return all(abs(ms - starts_ms[0] - Fraction(1000 * n) / rate) <= 1 for n, ms in enumerate(starts_ms))


def _measured(starts: Sequence[int]) -> Fraction:
    """The average frame rate of two or more frames."""
    return Fraction(1000 * (len(starts) - 1), max(starts[-1] - starts[0], 1))


def _steadiest(starts: Sequence[int]) -> Sequence[int]:
    """The longest run of frames with equal intervals, to the millisecond."""
    steps = [b - a for a, b in zip(starts, starts[1:], strict=False)]
    usual = sorted(steps)[len(steps) // 2]
    edges = [-1, *(n for n, step in enumerate(steps) if abs(step - usual) > 1), len(steps)]
    first, last = max(zip(edges, edges[1:], strict=False), key=lambda pair: pair[1] - pair[0])
    return starts[first + 1 : last + 1]


def _constant_rate(stated: Fraction | None, starts: Sequence[int]) -> Fraction | None:
    """The constant rate of frames that start at ``starts`` (milliseconds, sorted, two or more); None if the rate varies."""
    measured = _measured(starts)
    near = sorted(STANDARD_RATES, key=lambda standard: abs(standard - measured))[:3]
    said = [stated] if stated is not None and stated <= MAX_RATE else []
    # 30 and 30000/1001 differ by 2 ms after two seconds: exact times decide; otherwise the stated rate is believed.
    for rate in [*said, *near]:
        if _exact(starts, rate):
            return rate
    fitting = [rate for rate in [*said, *near] if rate in STANDARD_RATES and fits_grid(starts, rate)]
    if fitting:
        # Without a stated rate, take the faster: its grid repeats a frame now and then, the slower one would drop a frame.
        return fitting[0] if said == fitting[:1] else max(r for r in fitting if r <= fitting[0] * Fraction(501, 500))
    run = _steadiest(starts)
    if len(run) * 2 > len(starts) and len(run) > 9:
        # Ignore an odd first frame or a gap: in fragmented files written by libavformat, the first frame lasts too long.
        for rate in [*said, *sorted(STANDARD_RATES, key=lambda one: abs(one - _measured(run)))[:3]]:
            if _exact(run, rate):
                return rate
    if said and fits_grid(starts, said[0]):
        return said[0]
    return min(snap_rate(measured), MAX_RATE) if fits_grid(starts, measured) else None


def choose_rate(stated: Fraction | None, starts_ms: Sequence[int]) -> Fraction:
    """Choose the rate of the frame grid for a source.

    ``stated`` is the rate in the container; ``starts_ms`` are the presentation times of the first chunk's frames in
    milliseconds. The stated rate is used if the frames fall on its grid, otherwise the standard rate on whose grid they fall.
    If there is none, the frame rate is variable, and the grid is made fine enough for most intervals.
    """
    starts = sorted(starts_ms)
    if stated is not None and not 0 < stated <= 1000:
        stated = None
    average, stated = stated, snap_rate(stated) if stated is not None else None
    if len(starts) < 2 or starts[-1] <= starts[0]:
        return min(stated or Fraction(30), MAX_RATE)
        # Some containers state an average instead of a rate; jitter makes it slightly wrong.
    exactly = average is not None and stated is not None and abs(average - stated) <= stated / 50_000
    constant = _constant_rate(stated if exactly else None, starts)
    # A static screen capture delivers about one frame per second; how fast it is when something moves is not known yet.
    if constant is not None and (constant >= MIN_PLAUSIBLE_RATE or constant == stated):
        return constant
    measured = _measured(starts)
    said = stated if stated is not None and stated <= MAX_VARIABLE_RATE else None
    if said is not None and abs(said - measured) <= said / 20:
        return said  # constant, but with jittering timestamps
    steps = sorted(b - a for a, b in zip(starts, starts[1:], strict=False) if b > a)
    # Fine enough that three out of four frames get a grid point of their own, even if frames arrive in bursts.
    usual = snap_rate(Fraction(1000, steps[len(steps) // 4]), tolerance=Fraction(1, 25))
    least = said or (MIN_PLAUSIBLE_RATE if constant is None else Fraction(30))
    return min(max(usual, snap_rate(measured, tolerance=Fraction(1, 25)), least), MAX_VARIABLE_RATE)


def thinned(rate: Fraction, starts_ms: Sequence[int]) -> Fraction | None:
    """The measured frame rate of a source that is too fast for the grid of ``rate``, so that frames are dropped; else None."""
    if rate < MAX_VARIABLE_RATE or len(starts_ms) < 10:
        return None
    measured = _measured(sorted(starts_ms))
    return measured if measured > rate * Fraction(21, 20) else None


def other_rate(rate: Fraction, starts_ms: Sequence[int]) -> Fraction | None:
    """The constant rate of a chunk's frames if a grid of ``rate`` would drop or unevenly repeat some of them, else None.

    An integer fraction of the rate, such as half, counts as the same rate: every frame is repeated equally often.
    Chunks shorter
    than a second are not judged.
    """
    starts = sorted(starts_ms)
    if len(starts) < 10 or starts[-1] - starts[0] < 900 or fits_grid(starts, rate):
        return None
    found = _constant_rate(None, starts)
    if found is None or found not in STANDARD_RATES or (rate / found).denominator == 1:
        return None
    # Missing frames or jittering timestamps do not make a different rate.
    return found if abs(found - rate) > rate / 50 else None


def split_evenly(frame_count: int, target: Fraction) -> tuple[int, ...]:
    """Lengths in frames of the segments of a chunk of ``frame_count`` frames, each as close to ``target`` as possible.

    The lengths sum to ``frame_count`` and differ by at most one, so that a long chunk (from a source with rare keyframes)
    still gives players segments of the usual length.
    """
    if frame_count <= 0:
        raise ValueError(f"a chunk has at least one frame, not {frame_count}")
    # A chunk shorter than 1.5 targets is not split.
    parts = max(1, min(frame_count, round_half_up(Fraction(frame_count) / target)))
    edges = [frame_count * i // parts for i in range(parts + 1)]
    return tuple(b - a for a, b in zip(edges, edges[1:], strict=False))
