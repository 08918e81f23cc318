import random
from fractions import Fraction

import pytest

from streamwave.manifest.rates import average_bps, buffered_bps, peak_bps
from streamwave.manifest.timeline import SegmentRef
from tests.unit.manifest.samples import FULL, track


def starves(segments: list[SegmentRef], timescale: int, buffer_ms: int, bandwidth: int) -> bool:
    """Whether a player that begins anywhere misses a segment: the promise of 5.3.5.2, tried out one by one."""
    for first in range(len(segments)):
        bits = 0
        for segment in segments[first:]:
            bits += 8 * segment.size
            waited = Fraction(buffer_ms, 1000) + Fraction(segment.time - segments[first].time, timescale)
            if bits > bandwidth * waited:
                return True
    return False


@pytest.mark.parametrize("seed", range(40))
def test_bandwidth_is_the_smallest_that_starves_nobody(seed):
    chance = random.Random(seed)
    segments, time = [], chance.choice([0, 77])
    for _ in range(chance.randint(1, 20)):
        segments.append(SegmentRef(time, chance.choice([1, 60, 90]), chance.randint(0, 10**6)))
        time += segments[-1].duration
    rate = buffered_bps(segments, 30, 2000)
    assert not starves(segments, 30, 2000, rate)
    assert rate == 1 or starves(segments, 30, 2000, rate - 1)
    assert buffered_bps(segments, 30, 2000, floor_bps=rate + 5) == rate + 5


def test_a_last_segment_of_one_picture_does_not_set_the_rate():
    frames = track(FULL, [60, 60, 60, 1], 250_000).segments  # 1 Mb/s, the last one 60 Mb/s
    assert buffered_bps(frames, 30000, 2002) == 999_001
    assert peak_bps(frames, 30000, 3) == 1_965_248
    assert peak_bps(frames[-1:], 30000, 3) == 59_940_060
    assert peak_bps([], 30000, 3) == 0


def test_the_mean_over_periods():
    assert average_bps([track(FULL, [60], 1000), track(FULL, [], 0), track(FULL, [60, 60], 4000)]) == 11_989
    assert average_bps([]) == 0
