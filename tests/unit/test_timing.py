"""The frame grid is exact, however long; the rate is found however badly it is stated."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from streamwave.timing import (
    AAC_FRAME,
    STANDARD_RATES,
    Grid,
    aac_frame_at_ms,
    choose_rate,
    other_rate,
    round_half_up,
    snap_rate,
    split_evenly,
    whole_ms,
)

NTSC = Fraction(30000, 1001)
A_MONTH_S = 31 * 24 * 3600


@pytest.mark.parametrize("rate", [*STANDARD_RATES, Fraction(7), Fraction(29), Fraction(1001, 100)], ids=str)
def test_a_frame_is_a_whole_number_of_ticks(rate: Fraction) -> None:
    grid = Grid(rate)
    assert Fraction(grid.timescale, grid.frame_ticks) == rate
    assert grid.timescale >= 1000
    # Also after a month, and so that no 32-bit player field overflows within a frame.
    last = int(rate * A_MONTH_S)
    assert Fraction(grid.ticks(last), grid.timescale) == last / rate
    assert grid.ticks(last + 1) - grid.ticks(last) == grid.frame_ticks < 2**31


@pytest.mark.parametrize("rate", STANDARD_RATES, ids=str)
def test_rounded_milliseconds_lead_back_to_their_frame(rate: Fraction) -> None:
    grid = Grid(rate)
    chosen = [*range(2000), *(random.Random(1).randrange(int(rate * A_MONTH_S)) for _ in range(5000))]
    assert all(grid.frame_at_ms(round_half_up(frame * 1000 / rate)) == frame for frame in chosen)


def test_a_thousandth_of_the_rate_matters() -> None:
    # 29.97 is not 30000/1001: after a day they are 2.6 frames apart.
    day = round_half_up(NTSC * 86400)
    assert Grid(NTSC).frame_at_ms(86_400_000) == day == 2_589_411
    assert round_half_up(Fraction("29.97") * 86400) != day


def test_halves_go_up() -> None:
    assert [round_half_up(Fraction(n, 2)) for n in range(-5, 6)] == [-2, -2, -1, -1, 0, 0, 1, 1, 2, 2, 3]
    assert round_half_up(7) == 7


def test_seconds_in_milliseconds() -> None:
    assert [whole_ms(Fraction(text)) for text in ("2", "1001/500", "3/2", "2.0005")] == [2000, 2002, 1500, 2001]


def test_impossible_rate() -> None:
    with pytest.raises(ValueError, match="positive, not 0"):
        Grid(Fraction(0))


def test_aac_frames_follow_the_pictures_within_half_a_frame() -> None:
    grid = Grid(NTSC)
    for frame in (0, 1, 60, 1799, 10**7):
        apart = Fraction(grid.aac_frame_at(frame, 48000) * AAC_FRAME, 48000) - frame / NTSC
        assert abs(apart) <= Fraction(AAC_FRAME, 2 * 48000)
    assert aac_frame_at_ms(2000, 48000) == 94  # 93.75
    assert aac_frame_at_ms(2000, 44100) == 86  # 86.13


# --- the rate of a source --------------------------------------------------------------------------------------------


def starts(rate: Fraction, count: int = 60, first: int = 0, jitter_ms: int = 0) -> list[int]:
    """Presentation times as a container with milliseconds has them."""
    chance = random.Random(count)
    return [round_half_up((first + n) * 1000 / rate) + chance.randint(-jitter_ms, jitter_ms) for n in range(count)]


@pytest.mark.parametrize("rate", STANDARD_RATES, ids=str)
def test_the_stated_rate_wins_where_pictures_fall_on_its_grid(rate: Fraction) -> None:
    assert choose_rate(rate, starts(rate)) == rate


@pytest.mark.parametrize(
    "rate", [Fraction(24000, 1001), Fraction(25), NTSC, Fraction(50), Fraction(60000, 1001)], ids=str
)
@pytest.mark.parametrize(
    "stated", [None, Fraction(0), Fraction(1000), Fraction(90000), Fraction(15), Fraction(24)], ids=str
)
def test_a_wrong_or_missing_statement_is_found_out(rate: Fraction, stated: Fraction | None) -> None:
    found = choose_rate(stated, starts(rate, 120))
    # In two seconds of milliseconds 30000/1001 and 30 cannot be told apart, but nothing else can be confused.
    assert abs(found - rate) <= rate / 1000


@pytest.mark.parametrize(
    ("stated", "meant"), [("29.97", NTSC), ("23.976", Fraction(24000, 1001)), ("59.94", Fraction(60000, 1001))]
)
def test_a_rounded_statement_means_the_standard(stated: str, meant: Fraction) -> None:
    assert choose_rate(Fraction(stated), starts(meant, 120)) == meant


def test_jitter_of_a_capture_does_not_change_the_rate() -> None:
    assert choose_rate(Fraction(30), starts(Fraction(30), 120, jitter_ms=8)) == 30
    assert choose_rate(None, starts(Fraction(25), 120, jitter_ms=8)) == 25


def test_b_frames_arrive_out_of_order() -> None:
    shown = starts(Fraction(25), 12)
    decoded = [shown[n] for n in (0, 3, 1, 2, 6, 4, 5, 9, 7, 8, 11, 10)]
    assert choose_rate(Fraction(25), decoded) == 25
    assert choose_rate(None, decoded) == 25


def test_a_missing_picture_is_no_other_rate() -> None:
    whole = starts(Fraction(30), 90)
    assert choose_rate(Fraction(30), [ms for n, ms in enumerate(whole) if n % 10 != 3]) == 30


def test_variable_rate_gets_a_grid_that_its_usual_pictures_fit() -> None:
    # A screen capture: 30 pictures a second while something moves, then nothing for three seconds.
    moving = starts(Fraction(30), 45)
    assert choose_rate(None, [*moving, *(4500 + ms for ms in moving)]) == 30


def test_a_screen_that_is_still_at_first_gets_a_grid_for_when_it_moves() -> None:
    still = [1000 * n for n in range(6)]
    assert choose_rate(None, still) == 30
    assert choose_rate(Fraction(60), still) == 60
    assert choose_rate(Fraction(1), still) == 1  # it says so itself
    bursts = [1000 * second + round(n * 1000 / 60) for second in range(4) for n in range(20)]
    assert choose_rate(None, bursts) == 60


def test_exact_times_tell_a_stated_thousandth_from_the_truth() -> None:
    assert choose_rate(Fraction(30), starts(NTSC, 120)) == NTSC
    assert choose_rate(NTSC, starts(Fraction(30), 120)) == 30
    assert choose_rate(NTSC, starts(Fraction(30), 120, jitter_ms=5)) == NTSC


def test_an_average_is_no_statement() -> None:
    """A file of a phone: 30 pictures a second that tremble, 29.964 on average over its length."""
    trembling = starts(Fraction(30), 60, jitter_ms=6)
    assert choose_rate(Fraction(2250000, 75091), [0, *trembling[1:-1], 1967]) == 30


@pytest.mark.parametrize(
    ("grid", "now", "other"),
    [
        (25, 50, Fraction(50)),
        (30, 25, Fraction(25)),
        (25, 30, Fraction(30)),
        (30, 60, Fraction(60)),
        (60, 30, None),  # each picture is shown twice
        (50, 25, None),
        (30, 30, None),
    ],
)
def test_a_rate_that_became_another(grid: int, now: int, other: Fraction | None) -> None:
    assert other_rate(Fraction(grid), starts(Fraction(now), 2 * now)) == other


def test_what_is_no_other_rate() -> None:
    whole = starts(Fraction(30), 90)
    assert other_rate(Fraction(30), [ms for n, ms in enumerate(whole) if n % 10 != 3]) is None
    assert other_rate(Fraction(30), [ms for n, ms in enumerate(whole) if n % 7 < 2]) is None
    assert other_rate(Fraction(30), starts(Fraction(60), 20)) is None  # too short to tell
    assert other_rate(NTSC, starts(Fraction(30), 90)) is None


def test_too_little_to_measure() -> None:
    assert choose_rate(NTSC, [0]) == NTSC
    assert choose_rate(None, []) == 30
    assert choose_rate(Fraction(240), [0]) == 120


# --- segments of a chunk ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 49, 50, 74, 75, 76, 99, 100, 207, 250, 1000])
def test_long_chunks_are_shared_out_evenly(count: int) -> None:
    lengths = split_evenly(count, Fraction(50))
    assert sum(lengths) == count
    assert max(lengths) - min(lengths) <= 1
    assert max(lengths) <= 75 or len(lengths) == 1
    assert len(lengths) == 1 or min(lengths) >= 37


def test_a_chunk_that_is_a_little_longer_stays_whole() -> None:
    assert split_evenly(74, Fraction(50)) == (74,)
    assert split_evenly(75, Fraction(50)) == (37, 38)
    assert split_evenly(250, Fraction(50)) == (50,) * 5
    with pytest.raises(ValueError, match="at least one frame"):
        split_evenly(0, Fraction(50))


def test_snapping_leaves_odd_rates_alone() -> None:
    assert snap_rate(Fraction(30000, 1001)) == NTSC
    assert snap_rate(Fraction("29.98")) == NTSC
    assert snap_rate(Fraction(29)) == 29
    assert snap_rate(Fraction(123456, 10007)).denominator <= 1001


def test_an_average_over_a_whole_file_is_no_rate_to_go_by_where_its_pictures_fit_a_usual_one() -> None:
    """A short file of a phone, of which the last picture lasts long: 29.9 by its container."""
    trembling = [round_half_up((Fraction(n, 30) + Fraction((n * 7 % 11) - 5, 660) * (n > 0)) * 1000) for n in range(30)]
    assert choose_rate(Fraction(13500000, 451501), trembling) == 30


def test_of_two_rates_that_cannot_be_told_apart_the_faster_loses_no_picture() -> None:
    trembling = [0, *starts(Fraction(30), 60, jitter_ms=6)[1:-1], 1970]
    assert choose_rate(None, trembling) == 30


@pytest.mark.parametrize("rate", [Fraction(25), NTSC, Fraction(60)], ids=str)
def test_a_first_picture_that_lasts_too_long_does_not_hide_the_rate(rate: Fraction) -> None:
    """As in FFmpeg's files in fragments, where it makes up for the priming of the sound."""
    late = [0, *(round_half_up(n * 1000 / rate + Fraction(64, 3)) for n in range(1, 90))]
    assert choose_rate(Fraction(19247, 774), late) == rate
    assert choose_rate(None, late) == rate


def test_a_rate_that_changes_within_a_chunk_is_noticed_where_most_pictures_come_at_it() -> None:
    fast = [*range(0, 800, 40), *range(800, 1600, 20)]
    assert other_rate(Fraction(25), fast) == 50
    assert other_rate(Fraction(50), [*range(0, 800, 20), *range(800, 1600, 40)]) is None
