"""MPEG-TS as flows: bytes pass as they are, and a flow ends exactly where the tracks that are used become others."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamwave.ffmpeg.mpegts import ProgramFlow
from tests.support.media import make_clip
from tests.support.mpegts import PACKET, PMT, media, pat, pmt

H264, AAC, SCTE35, PRIVATE = 0x1B, 0x0F, 0x86, 0x06
USUAL = ((H264, 256, b""), (AAC, 257, b""))


def in_pieces(data: bytes) -> Iterator[bytes]:
    sizes, at = random.Random(len(data)), 0
    while at < len(data):
        size = sizes.randint(1, 3000)
        yield data[at : at + size]
        at += size


def flows(data: bytes) -> list[bytes]:
    """What each flow gives."""
    found: list[bytes] = []
    flow: ProgramFlow | None = ProgramFlow(in_pieces(data))
    while flow is not None:
        out = b""
        while piece := flow.read(1000):
            out += piece
        found.append(out)
        flow = flow.following
    return found


BEGIN = pat(_1=PMT) + pmt(*USUAL)


@pytest.mark.parametrize("stride", [188, 192, 204])
@pytest.mark.parametrize("before", [b"", b"G", b"no packets at all G" * 20])
def test_what_does_not_change_passes_as_it_is(stride: int, before: bytes) -> None:
    packets = BEGIN + media(50) + BEGIN + media(50)
    data = before + b"".join(
        packets[at : at + PACKET] + bytes(stride - PACKET) for at in range(0, len(packets), PACKET)
    )
    assert flows(data) == [data]


@pytest.mark.parametrize("size", [0, 1, 188, 5000])
def test_what_is_no_transport_stream_passes_as_it_is(size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert flows(data) == [data]


def test_a_real_stream_passes_as_it_is(tmp_path: Path) -> None:
    data = make_clip(tmp_path / "a.ts", frames=50).path.read_bytes()
    assert flows(data) == [data]


@pytest.mark.parametrize(
    "then",
    [
        pmt((H264, 300, b""), (AAC, 257, b"")),
        pmt((0x24, 256, b""), (AAC, 257, b"")),
        pmt((H264, 256, b"")),
        pmt((H264, 256, b""), (0x81, 258, b"")),
        pat(_1=PMT + 1) + pmt(*USUAL, pid=PMT + 1),
        pat(_2=PMT) + pmt(*USUAL, number=2),
    ],
    ids=["other PID", "other codec", "sound goes", "other sound", "other place of the table", "other program"],
)  # fmt: skip
def test_a_flow_ends_where_the_tracks_become_others(then: bytes) -> None:
    first, second = BEGIN + media(40), then + media(40)
    if then[1:3] == b"\x40\0":  # that is PID 0
        assert flows(first + second + first) == [first, second, first]
    else:  # the table of programs is the same, and comes before the one that is not
        head, rest = first[:PACKET], first[PACKET:]
        assert flows(first + second + first) == [first, head + second + head, head + rest]


def test_sound_that_is_added_begins_another_flow() -> None:
    first = pat(_1=PMT) + pmt((H264, 256, b"")) + media(20)
    second = pmt((H264, 256, b""), (PRIVATE, 258, b"\x05\x04AC-3")) + media(20)
    assert flows(first + second) == [first, pat(_1=PMT) + second]


@pytest.mark.parametrize(
    "more",
    [(SCTE35, 500, b""), (PRIVATE, 501, b"\x59\x08" + bytes(8)), (AAC, 502, b"")],
    ids=["cues", "subtitles", "sound"],
)
def test_tracks_that_are_added_and_not_needed_are_kept_back(more: tuple[int, int, bytes]) -> None:
    changed = pmt(*USUAL, more)
    data = BEGIN + media(10) + changed + media(10, 256, more[1]) + changed + media(10) + BEGIN + media(10)
    assert flows(data) == [data.replace(changed, b"")]


def test_another_program_may_change() -> None:
    other = pmt((H264, 700, b""), number=2, pid=PMT + 1)
    first = pat(_1=PMT, _2=PMT + 1) + pmt(*USUAL) + other + media(10, 256, 700)
    changed = pmt((0x24, 700, b""), number=2, pid=PMT + 1)
    assert flows(first + changed + media(10)) == [first + media(10)]


def test_damaged_tables_and_lost_packets_end_nothing() -> None:
    data = BEGIN + media(10) + pmt((0x24, 300, b""), wrong=True) + media(10)[1000:] + BEGIN + media(10)
    assert flows(data) == [data]
