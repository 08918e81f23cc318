"""Levels that are known, and that a level is never too low for the pictures."""

from __future__ import annotations

from fractions import Fraction

import pytest

from streamwave.ffmpeg.level import h264_level

NTSC = Fraction(30000, 1001)


@pytest.mark.parametrize(
    ("width", "height", "rate", "max_bps", "level"),
    [
        (1920, 1080, NTSC, 5_000_000, "4"),
        (1920, 1080, Fraction(30), 5_000_000, "4"),
        (1920, 1080, Fraction(60), 5_000_000, "4.2"),
        (1920, 1080, Fraction(30), 30_000_000, "4.1"),  # the bit rate decides
        (1080, 1920, Fraction(30), 5_000_000, "4"),
        (1280, 720, Fraction(30), 2_800_000, "3.1"),
        (1280, 720, Fraction(60), 2_800_000, "3.2"),
        (854, 480, Fraction(30), 1_400_000, "3.1"),
        (854, 480, Fraction(25), 1_400_000, "3"),
        (640, 360, Fraction(30), 800_000, "3"),
        (3840, 2160, Fraction(30), 20_000_000, "5.1"),
        (160, 90, Fraction(25), 150_000, "1.1"),
        (160, 90, Fraction(25), 450_000, "1.2"),
        (176, 144, Fraction(15), 64_000, "1"),
        (16, 4096, Fraction(25), 100_000, "4"),  # narrow, but high
        (16000, 16000, Fraction(120), 10**9, "6.2"),
    ],
)
def test_known_levels(width: int, height: int, rate: Fraction, max_bps: int, level: str) -> None:
    assert h264_level(width, height, rate, max_bps) == level


def test_more_of_anything_never_lowers_the_level() -> None:
    level = float(h264_level(640, 360, Fraction(25), 800_000))
    for n in (2, 5, 10, 30):
        more = [
            h264_level(640 * n, 360, Fraction(25), 800_000),
            h264_level(640, 360 * n, Fraction(25), 800_000),
            h264_level(640, 360, Fraction(25 * n), 800_000),
            h264_level(640, 360, Fraction(25), 800_000 * n),
        ]
        assert all(float(one) >= level for one in more)
