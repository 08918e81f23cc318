"""The H.264 level of a rendition. It is set explicitly because x264's own choice depends on each chunk's bit rate."""

from __future__ import annotations

from fractions import Fraction

#: ITU-T H.264, table A-1: level, macroblocks per second, per frame and in the decoded picture buffer, and kbit/s, which
#: the High profile may exceed by a quarter (table A-2).
_LEVELS = (
    ("1", 1_485, 99, 396, 64),
    ("1.1", 3_000, 396, 900, 192),
    ("1.2", 6_000, 396, 2_376, 384),
    ("1.3", 11_880, 396, 2_376, 768),
    ("2", 11_880, 396, 2_376, 2_000),
    ("2.1", 19_800, 792, 4_752, 4_000),
    ("2.2", 20_250, 1_620, 8_100, 4_000),
    ("3", 40_500, 1_620, 8_100, 10_000),
    ("3.1", 108_000, 3_600, 18_000, 14_000),
    ("3.2", 216_000, 5_120, 20_480, 20_000),
    ("4", 245_760, 8_192, 32_768, 20_000),
    ("4.1", 245_760, 8_192, 32_768, 50_000),
    ("4.2", 522_240, 8_704, 34_816, 50_000),
    ("5", 589_824, 22_080, 110_400, 135_000),
    ("5.1", 983_040, 36_864, 184_320, 240_000),
    ("5.2", 2_073_600, 36_864, 184_320, 240_000),
    ("6", 4_177_920, 139_264, 696_320, 240_000),
    ("6.1", 8_355_840, 139_264, 696_320, 480_000),
)
_HIGHEST = "6.2"

#: Frames that must fit into the decoded picture buffer: enough for x264's B-frames and the reference frames of its usual
#: presets. Slower presets would use more reference frames, and get as many as the level allows.
_KEPT_PICTURES = 4


def h264_level(width: int, height: int, rate: Fraction, max_bps: int) -> str:
    """The lowest level (ITU-T H.264, annex A.3) for ``width`` x ``height`` pixels at ``rate`` frames per second.

    ``max_bps`` is the maximum bit rate in bits per second.
    """
    columns, rows = -(-width // 16), -(-height // 16)
    blocks = columns * rows
    for level, per_second, per_picture, kept, kbps in _LEVELS:
        if (
            blocks * rate <= per_second
            and blocks <= per_picture
            and max(columns, rows) ** 2 <= 8 * per_picture
            and blocks * _KEPT_PICTURES <= kept
            and max_bps * 4 <= kbps * 5000
        ):
            return level
    return _HIGHEST
