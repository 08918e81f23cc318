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


def round_half_up(value: Fraction | int) -> int:
    """Nearest integer, halves up. Python's ``round`` goes to even numbers, which would make seams irregular."""
    numerator, denominator = value.numerator, value.denominator
    return (2 * numerator + denominator) // (2 * denominator)


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


def choose_rate(stated: Fraction | None, starts_ms: Sequence[int]) -> Fraction:
    """The rate of the frame grid for a source.

    ``stated`` is what the container says; ``starts_ms`` are the presentation times of the first chunk's pictures in
    milliseconds. The stated rate wins if the pictures fall on its grid; else the standard rate on whose grid they
    fall; else the pictures come at a variable rate and the grid is made fine enough for their usual distance.
    """
    starts = sorted(starts_ms)
    if stated is not None and not 0 < stated <= 1000:
        stated = None
    stated = snap_rate(stated) if stated is not None else None
    if len(starts) < 2 or starts[-1] <= starts[0]:
        return min(stated or Fraction(30), MAX_RATE)
    if stated is not None and stated <= MAX_RATE and fits_grid(starts, stated):
        return stated
    measured = Fraction(1000 * (len(starts) - 1), starts[-1] - starts[0])
    near = sorted(STANDARD_RATES, key=lambda standard: abs(standard - measured))
    for standard in near[:3]:
        if fits_grid(starts, standard):
            return standard
    if fits_grid(starts, measured):
        return min(snap_rate(measured), MAX_RATE)
    # Variable: the median distance between pictures tells the rate that the capture aimed at.
    steps = sorted(b - a for a, b in zip(starts, starts[1:], strict=False) if b > a)
    usual = Fraction(1000, steps[len(steps) // 2])
    aimed = max(usual, measured)
    return min(snap_rate(aimed, tolerance=Fraction(1, 25)), Fraction(60))


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
