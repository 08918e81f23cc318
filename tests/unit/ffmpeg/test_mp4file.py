"""Boxes of a file as deep as anybody puts them into each other."""

from __future__ import annotations

import io
import struct

import pytest

from streamwave.ffmpeg.encrypted import encrypted_in
from streamwave.ffmpeg.mp4file import sample_counts
from streamwave.mp4.boxes import box, full_box


class File(io.BytesIO):
    def size(self) -> int:
        return len(self.getvalue())


def nested(depth: int, inside: bytes) -> bytes:
    """``inside`` in so many boxes."""
    heads = [struct.pack(">I4s", 8 * (depth - number) + len(inside), b"moov") for number in range(depth)]
    return b"".join(heads) + inside


@pytest.mark.parametrize("depth", [1, 2000, 15_000])
def test_boxes_in_boxes_in_boxes(depth: int) -> None:
    entries = full_box("stsd", 0, 0, struct.pack(">I", 1), box("encv", bytes(70)))
    track = box("trak", full_box("tkhd", 0, 0, struct.pack(">III", 0, 0, 7), bytes(68)), box("stbl", entries))
    table = box("stbl", full_box("stsz", 0, 0, struct.pack(">II", 0, 5)))
    file = File(nested(depth, track + table))
    assert encrypted_in(file) == {7}
    assert sample_counts(file) == [(0, False), (5, False)]


def test_what_is_deeper_is_not_looked_at() -> None:
    file = File(nested(50_000, b""))
    assert encrypted_in(file) == frozenset() and sample_counts(file) == []
