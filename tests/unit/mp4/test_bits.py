"""Bits are read one field after the other, and never beyond the end."""

from __future__ import annotations

import pytest

from streamwave.errors import MediaError
from streamwave.mp4.bits import BitReader, Bits


def test_fields_of_any_width() -> None:
    reader = BitReader(bytes.fromhex("a5f00f"), "cut off")
    assert [reader.u(), reader.u(3), reader.u(4), reader.u(12)] == [1, 2, 5, 0xF00]
    assert reader.u(4) == 15 and reader.u(0) == 0
    with pytest.raises(MediaError, match="^cut off$"):
        reader.u()


def test_numbers_of_variable_length() -> None:
    # ue: 1 -> 0, 010 -> 1, 011 -> 2, 00100 -> 3; se: 00101 -> -2 (ITU-T H.264, tables 9-2 and 9-3)
    bits = Bits(bytes([0x67, 0b10100110, 0b01000010, 0b10000000]))
    assert [bits.ue() for _ in range(4)] + [bits.se()] == [0, 1, 2, 3, -2]
    with pytest.raises(MediaError, match="cut off"):
        bits.u(100)
    with pytest.raises(MediaError, match="impossible number"):
        Bits(bytes(40)).ue()


def test_emulation_prevention_is_taken_out() -> None:
    assert Bits(bytes([0x67, 0, 0, 3, 1])).u(24) == 1
