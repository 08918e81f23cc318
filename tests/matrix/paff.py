"""Field-coded H.264 (PAFF), which broadcasters use but x264 cannot produce: I_PCM macroblocks, one slice per field."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.matrix.source import Recipe
from tests.support.media import draw, ffmpeg

_DELIMITER = b"\0\0\0\1\x09\x10"
GOP = 25


class _Bits:
    def __init__(self) -> None:
        self._bits: list[int] = []

    def u(self, count: int, *values: int) -> _Bits:
        for value in values:
            self._bits += [value >> place & 1 for place in range(count - 1, -1, -1)]
        return self

    def ue(self, *values: int) -> _Bits:
        for value in values:
            length = (value + 1).bit_length()
            self.u(length - 1, 0).u(length, value + 1)
        return self

    def aligned(self) -> bytes:
        self._bits += [0] * (-len(self._bits) % 8)
        return np.packbits(np.array(self._bits, np.uint8)).tobytes()


def _unit(header: int, payload: bytes) -> bytes:
    """A NAL unit with emulation prevention bytes (ITU-T H.264, 7.4.1)."""
    out, zeros = bytearray(), 0
    for byte in payload:
        if zeros >= 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return b"\0\0\0\1" + bytes([header]) + bytes(out)


def _parameters(width: int, height: int, rate: int) -> bytes:
    """Parameter sets (7.3.2.1.1 and 7.3.2.2): Main profile, frames or fields, a time base of two fields per frame."""
    rows = -(-height // 32)
    sps = _Bits().u(8, 77, 0, 30).ue(0, 0, 0, 4, 2).u(1, 0).ue(width // 16 - 1, rows - 1).u(1, 0, 0, 1)
    sps.u(1, 1).ue(0, 0, 0, (32 * rows - height) // 4)
    sps.u(1, 1, 0, 0, 0, 0, 1).u(32, 1, 2 * rate).u(1, 1, 0, 0, 1, 1, 1).ue(0, 0, 16, 16, 0, 2).u(1, 1)
    pps = _Bits().ue(0, 0).u(1, 0, 0).ue(0, 0, 0).u(1, 0).u(2, 0).ue(0, 0, 0).u(1, 1, 0, 0, 1)
    return _unit(0x67, sps.aligned()) + _unit(0x68, pps.aligned())


def _field(luma: NDArray[np.uint8], picture: int, gop: int, bottom: int) -> bytes:
    """A slice (7.3.3) of I_PCM macroblocks."""
    idr = picture == 0 and not bottom
    bits = _Bits().ue(0, 7, 0).u(4, picture % 16).u(1, 1, bottom)
    if idr:
        bits.ue(gop % 16)
    bits.u(8, (2 * picture + bottom) % 256).u(1, *((0, 0) if idr else (0,))).ue(0, 1)
    out = bytearray()
    for y in range(0, luma.shape[0], 16):
        for x in range(0, luma.shape[1], 16):
            out += bits.ue(25).aligned() + luma[y : y + 16, x : x + 16].tobytes() + b"\x80" * 128
            bits = _Bits()
    return _unit(0x65 if idr else 0x41, bytes(out) + b"\x80")


def stream(recipe: Recipe) -> bytes:
    """The video of ``recipe``, top field first."""
    width, height = recipe.size
    flashing = {n + more for n in recipe.flashes for more in (0, 1)}
    data = b""
    for n in range(recipe.count):
        luma = np.full((-(-height // 32) * 32, width), 1, np.uint8)
        luma[:height] = np.maximum(draw(n, n in flashing, width, height), 1)
        head = _parameters(width, height, int(recipe.rate)) if n % GOP == 0 else b""
        data += _DELIMITER + head + _field(luma[0::2], n % GOP, n // GOP, 0)
        data += _DELIMITER + _field(luma[1::2], n % GOP, n // GOP, 1)
    return data


def in_fields(source: Path, target: Path) -> None:
    """A rework: the audio of ``source``, and the video of the default recipe in fields."""
    coded = target.with_name("fields.h264")
    coded.write_bytes(stream(Recipe()))
    inputs = ("-f", "h264", "-i", str(coded), "-i", str(source))
    ffmpeg(*inputs, "-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", "aac", str(target))
    coded.unlink()
