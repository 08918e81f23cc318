"""The bits of NAL units, as hostile as they come."""

from __future__ import annotations

from contextlib import suppress

import pytest

from streamwave.errors import MediaError
from streamwave.mp4.bits import Bits
from streamwave.mp4.sps import pps_id, read_sps, slice_pps
from streamwave.receive.fields import Fields


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
