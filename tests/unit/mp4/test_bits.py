"""Bits are read one field after the other, never beyond the end, and as hostile as they come."""

from __future__ import annotations

from contextlib import suppress

import pytest

from streamwave.errors import MediaError
from streamwave.mp4.bits import BitReader, Bits
from streamwave.mp4.sps import pps_id, read_sps, slice_pps
from streamwave.receive.fields import Fields


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
    with pytest.raises(MediaError, match="truncated"):
        bits.u(100)
    with pytest.raises(MediaError, match="impossible number"):
        Bits(bytes(40)).ue()


def test_emulation_prevention_is_taken_out() -> None:
    assert Bits(bytes([0x67, 0, 0, 3, 1])).u(24) == 1


def test_numbers_of_any_length() -> None:
    bits = Bits(bytes([0x67, 0b1_010_011_0, 0b0100_0101]))
    assert [bits.ue(), bits.ue(), bits.se()] == [0, 1, -1]
    assert bits.ue() == 3
    assert bits.u(4) == 0b0101
    with pytest.raises(MediaError):
        bits.u()


@pytest.mark.parametrize("filling", [b"\0", b"\0\0\3", b"\x01\0", b"\xff", bytes(500_000) + b"\xff" * 500_000])
def test_a_parameter_set_of_megabytes_costs_as_little_as_a_short_one(filling: bytes) -> None:
    """What was read bit by bit, from a number of millions of bits, took longer than anybody waits."""
    huge = b"\x64\0\x1f" + filling * (2_000_000 // len(filling))
    for _ in range(20):
        with suppress(MediaError):
            read_sps(b"\x67" + huge)
        with suppress(MediaError):
            pps_id(b"\x68" + huge)
        with suppress(MediaError):
            slice_pps(b"\x65" + huge)
    # As a publisher sends it: in a packet, in front of a picture.
    packet = b"".join(len(nal).to_bytes(4, "big") + nal for nal in (b"\x67" + huge, b"\x41\x9a\0\x10"))
    Fields(None).alone(packet, b"\x01")
