"""Parse parameter sets, as far as they decide whether players can show the source's own video.

ITU-T H.264, 7.3.2.1.1 (sequence parameter set), 7.3.2.2 (picture parameter set), E.1.1 (VUI).
"""

from __future__ import annotations

from dataclasses import dataclass

from streamwave.errors import MediaError
from streamwave.mp4.bits import Bits

#: NAL unit types (table 7-1).
SPS, PPS = 7, 8
#: profile_idc of the profiles that state the chroma format; all others are 8 bits in 4:2:0.
_HIGH = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
_EXTENDED_SAR = 255


@dataclass(frozen=True)
class SequenceParameters:
    """A sequence parameter set. Sizes are in pixels after cropping; ``constraints`` has constraint_set0_flag in its top bit."""

    id: int
    profile: int
    constraints: int
    level: int
    width_px: int
    height_px: int
    frames_only: bool
    square_pixels: bool  # or the aspect ratio is not stated
    plain_colour: bool  # 8 bits in 4:2:0


def read_sps(nal: bytes) -> SequenceParameters:
    """Parse the sequence parameter set in a NAL unit.

    Raises:
        MediaError: it is not one, or damaged.
    """
    if not nal or nal[0] & 0x1F != SPS:
        raise MediaError("damaged H.264: a sequence parameter set is missing; encode the source again")
    bits = Bits(nal)
    profile, constraints, level, number = bits.u(8), bits.u(8), bits.u(8), bits.ue()
    chroma, depths = 1, [0, 0]
    if profile in _HIGH:
        chroma = bits.ue()
        if chroma == 3:
            bits.u(1)
        depths = [bits.ue(), bits.ue()]
        bits.u(1)
        if bits.u(1):
            _skip_scaling(bits, 12 if chroma == 3 else 8)
    bits.ue()
    order = bits.ue()
    if order == 0:
        bits.ue()
    elif order == 1:
        bits.u(1)
        bits.se()
        bits.se()
        for _ in range(min(bits.ue(), 255)):
            bits.se()
    bits.ue()
    bits.u(1)
    columns, rows = bits.ue() + 1, bits.ue() + 1
    frames_only = bits.u(1)
    if not frames_only:
        bits.u(1)
    bits.u(1)
    crop = [bits.ue() for _ in range(4)] if bits.u(1) else [0, 0, 0, 0]
    unit_x, unit_y = (1 if chroma in (0, 3) else 2), (2 if chroma == 1 else 1) * (2 - frames_only)
    return SequenceParameters(
        id=number,
        profile=profile,
        constraints=constraints,
        level=level,
        width_px=columns * 16 - unit_x * (crop[0] + crop[1]),
        height_px=rows * 16 * (2 - frames_only) - unit_y * (crop[2] + crop[3]),
        frames_only=bool(frames_only),
        square_pixels=_is_square(bits),
        plain_colour=chroma == 1 and depths == [0, 0],
    )


def hevc_size(nal: bytes) -> tuple[int, int]:
    """Coded width and height in pixels, from a sequence parameter set of HEVC (ITU-T H.265, 7.3.2.2).

    Raises:
        MediaError: it is damaged.
    """
    bits = Bits(nal[1:])  # the NAL unit header has two bytes
    bits.u(4)
    sub_layers = bits.u(3)
    bits.u(1)
    bits.u(96)  # profile_tier_level (7.3.3)
    present = [(bits.u(1), bits.u(1)) for _ in range(sub_layers)]
    if sub_layers:
        bits.u(2 * (8 - sub_layers))
    for profile, level in present:
        bits.u(88 * profile + 8 * level)
    bits.ue()
    if bits.ue() == 3:
        bits.u(1)
    return bits.ue(), bits.ue()


def _is_square(bits: Bits) -> bool:
    if not bits.u(1) or not bits.u(1):
        return True
    aspect = bits.u(8)
    if aspect != _EXTENDED_SAR:
        return aspect <= 1  # 0: unspecified
    return bits.u(16) == bits.u(16)


def _skip_scaling(bits: Bits, count: int) -> None:
    """Skip the scaling lists (7.3.2.1.1.1)."""
    for number in range(count):
        if bits.u(1):
            last, following = 8, 8
            for _ in range(16 if number < 6 else 64):
                if following:
                    following = (last + bits.se()) % 256
                last = following or last


def pps_id(nal: bytes) -> int:
    """The id of the picture parameter set in a NAL unit.

    Raises:
        MediaError: it is not one, or damaged.
    """
    if not nal or nal[0] & 0x1F != PPS:
        raise MediaError("damaged H.264: a picture parameter set is missing; encode the source again")
    return Bits(nal).ue()


def slice_pps(nal: bytes) -> int:
    """The id of the picture parameter set that a slice refers to (7.3.3).

    Raises:
        MediaError: the slice header is damaged.
    """
    bits = Bits(nal[:64])
    bits.ue()  # first_mb_in_slice
    bits.ue()  # slice_type
    return bits.ue()
