"""The gate's chunk reader, AMF checks and admission, without a network."""

from __future__ import annotations

import random
import struct

import pytest

from services.rtmp.admission import Admission, Stage
from services.rtmp.chunks import ChunkReader, as_chunks, chunk_size_message
from services.rtmp.rules import MAX_COMMAND, MAX_MESSAGE, MEDIA, Message, Refused
from streamwave.ffmpeg.amf import MAX_DEPTH, MAX_VALUES, AmfError, read_values
from tests.support.rtmp import (
    ABORT,
    AGGREGATE,
    AUDIO,
    COMMAND,
    DATA,
    SET_CHUNK_SIZE,
    VIDEO,
    Sent,
    amf,
    chunks,
    commands,
    media,
    nested,
    read_messages,
)


def passed(reader: ChunkReader, data: bytes, sizes: random.Random) -> bytes:
    """What the gate would write to nginx-rtmp for ``data``, which arrives in pieces."""
    out, at, size = b"", 0, 128
    while at < len(data):
        step = sizes.choice((1, 2, 7, 129, 1000, 65536))
        reader.feed(data[at : at + step])
        at += step
        while (item := reader.next()) is not None:
            out += item if isinstance(item, bytes) else as_chunks(item, size)
            size = reader.chunk_size
    return out


def interleaved(messages: list[Sent], size: int, order: random.Random) -> bytes:
    """Interleave chunks of several messages at random, keeping the order within each chunk stream."""
    queues: dict[int, list[bytes]] = {}
    for one in messages:
        whole, width = chunks(one, size), 12 + 4 * (one.time_ms >= 0xFFFFFF)
        continued = 1 + 4 * (one.time_ms >= 0xFFFFFF)
        pieces, at = [whole[: width + size]], width + size
        while at < len(whole):
            pieces.append(whole[at : at + continued + size])
            at += continued + size
        queues.setdefault(one.stream, []).extend(pieces)
    found = b""
    while queues:
        number = order.choice(sorted(queues))
        found += queues[number].pop(0)
        if not queues[number]:
            del queues[number]
    return found


@pytest.mark.parametrize("seed", range(40))
def test_what_comes_out_is_what_went_in(seed: int) -> None:
    """For all sizes of chunks, messages and reads, any interleaving, with and without extended timestamps."""
    order = random.Random(seed)
    size = order.choice((128, 128, 129, 1000, 4096))
    start = order.choice((0, 0, 0xFFFFF0, 0x1000000, 0xFFFFFF00))
    sent = [
        Sent(
            number,
            order.choice((AUDIO, VIDEO, VIDEO, DATA, COMMAND)),
            order.randbytes(order.choice((1, 127, 128, 129, 3000, 20000))),
            (start + 40 * index) & 0xFFFFFFFF,
            1,
        )
        for index, number in enumerate(order.choices((3, 4, 6, 8), k=30))
    ]
    data = chunks(Sent(2, SET_CHUNK_SIZE, struct.pack(">I", size))) + interleaved(sent, size, order)
    found = read_messages(passed(ChunkReader(publishing=True), data, order))
    assert found[0].body == struct.pack(">I", size)
    for number in (3, 4, 6, 8):  # chunk streams stay in order, but may overtake each other
        assert [one for one in found[1:] if one.stream == number] == [one for one in sent if one.stream == number]


def test_short_headers_refer_to_the_message_before() -> None:
    """Headers of types 1, 2 and 3, as encoders use them, also after messages that the gate rewrites."""
    data = chunks(Sent(4, DATA, amf("onTextData", {"a": 1}), 1000, 1))
    data += chunks(Sent(4, AUDIO, b"a" * 300), form=1, delta_ms=20)
    data += chunks(Sent(4, AUDIO, b"b" * 300), form=2, delta_ms=21)
    data += chunks(Sent(4, AUDIO, b"c" * 300), form=3)
    found = read_messages(passed(ChunkReader(publishing=True), data, random.Random(1)))
    assert [(one.body[:1], one.time_ms, one.target) for one in found[1:]] == [
        (b"a", 1020, 1),
        (b"b", 1041, 1),
        (b"c", 1062, 1),
    ]
    assert found[0].time_ms == 1000


def test_media_is_not_kept() -> None:
    """Every byte of a frame is forwarded when it arrives; only an incomplete header is kept."""
    reader, data = ChunkReader(publishing=True), chunks(Sent(6, VIDEO, bytes(100_000)))
    for at in range(0, len(data), 700):
        reader.feed(data[at : at + 700])
        out = reader.next()
        assert isinstance(out, bytes) and abs(len(out) - min(700, len(data) - at)) <= 12
        assert reader.next() is None


def refused(data: bytes, *, publishing: bool = False, size: int = 65536) -> str:
    reader = ChunkReader(publishing=publishing)
    with pytest.raises(Refused) as caught:
        for at in range(0, len(data), size):
            reader.feed(data[at : at + size])
            while reader.next() is not None:
                pass
    return str(caught.value)


def test_refuses_before_a_publish() -> None:
    assert "media before" in refused(chunks(Sent(6, VIDEO, b"x")))
    assert "media before" in refused(chunks(Sent(6, DATA, b"x")))
    assert "more than 65536" in refused(chunks(Sent(3, COMMAND, bytes(MAX_COMMAND + 1)))[:20])
    assert "too many bytes" in refused(b"".join(chunks(Sent(n, COMMAND, bytes(60_000)))[:140] for n in range(3, 9)))
    assert "invalid size" in refused(chunks(Sent(2, SET_CHUNK_SIZE, bytes(100))))
    assert "chunk size" in refused(chunks(Sent(2, SET_CHUNK_SIZE, struct.pack(">I", 1))))
    assert "chunk size" in refused(chunks(Sent(2, SET_CHUNK_SIZE, struct.pack(">I", 0x7FFFFFFF))))
    assert "chunk stream" in refused(bytes([16]) + bytes(11))
    assert "chunk stream" in refused(b"\x00\x00" + bytes(11))
    assert "refers to" in refused(b"\xc3")


def test_refuses_while_publishing() -> None:
    begun = chunks(Sent(6, VIDEO, bytes(1000)))[:140]
    assert "inside another" in refused(begun + chunks(Sent(6, VIDEO, b"x")), publishing=True)
    assert "chunk size" in refused(begun + chunks(Sent(2, SET_CHUNK_SIZE, struct.pack(">I", 4096))), publishing=True)
    assert "an Abort" in refused(begun + chunks(Sent(2, ABORT, struct.pack(">I", 6))), publishing=True)
    larger = chunks(Sent(2, SET_CHUNK_SIZE, struct.pack(">I", 4096)))
    assert "chunk size" in refused(larger + chunks(Sent(2, SET_CHUNK_SIZE, struct.pack(">I", 128))), publishing=True)
    assert "do not send" in refused(chunks(Sent(6, AGGREGATE, b"x")), publishing=True)
    assert "too large" in refused(chunks(Sent(6, VIDEO, bytes(MAX_MESSAGE + 1)))[:20], publishing=True)
    large = [chunks(Sent(number, VIDEO, bytes(MAX_MESSAGE)))[:140] for number in (6, 7)]
    assert "too many bytes" in refused(b"".join(large), publishing=True)
    assert not {one.kind for one in media() if one.kind in (AUDIO, VIDEO)} - MEDIA


def test_messages_are_written_with_a_full_header() -> None:
    for time_ms in (0, 0xFFFFFE, 0xFFFFFF, 0xFFFFFFFF):
        message = Message(5, time_ms, COMMAND, 1, bytes(range(256)) * 3)
        assert as_chunks(message, 128) == chunks(Sent(5, COMMAND, message.body, time_ms, 1))
    assert as_chunks(chunk_size_message(4096), 128) == chunks(Sent(2, SET_CHUNK_SIZE, struct.pack(">I", 4096)))


def test_amf_values() -> None:
    given = ["connect", 1, None, True, {"app": "live", "list": [1, {"x": "y"}]}]
    assert read_values(amf(*given)) == [b"connect", 1.0, None, True, {b"app": b"live", b"list": [1.0, {b"x": b"y"}]}]
    # An ECMA array, a date, a long string, a typed object, and an object without end marker at the end of the message.
    others = b"\x08\0\0\0\x09\0\x01a\x05\0\0\x09" + b"\x0b" + bytes(10) + b"\x0c\0\0\0\x01z" + b"\x10\0\x01T\0\0\x09"
    assert read_values(others + b"\x03\0\x01b\x05") == [{b"a": None}, 0.0, b"z", {}, {b"b": None}]
    assert read_values(amf("a") + b"\x11\x0a\x0b\x01") == [b"a"]  # the rest is AMF3
    for one in commands("key"):
        assert isinstance(read_values(one.body)[0], bytes)


@pytest.mark.parametrize("kind", ["array", "object"])
def test_amf_that_is_nested(kind: str) -> None:
    with pytest.raises(AmfError, match=f"more than {MAX_DEPTH} deep"):
        read_values(amf("connect", 1) + nested(MAX_DEPTH + 1, kind))
    with pytest.raises(AmfError):
        read_values(amf("connect", 1) + nested(MAX_MESSAGE // 5, kind))


@pytest.mark.parametrize(
    "data",
    [b"\x02\x00\x05abc", b"\x00\x01", b"\x0a\x00\x00\x00\x02\x05", b"\x09", b"\x04", b"\x03\x00\x00\x05",
     b"\x0a\xff\xff\xff\xff", b"\x05" * (MAX_VALUES + 1)],
)  # fmt: skip
def test_amf_that_is_not_well_formed(data: bytes) -> None:
    with pytest.raises(AmfError):
        read_values(data)


class Held:
    """A connection that records why it was refused."""

    def __init__(self, admission: Admission, address: str) -> None:
        self.address, self.stage, self.reason = address, Stage.SILENT, ""
        self._admission = admission
        admission.enter(self)

    def refuse(self, reason: str) -> None:
        self.reason = reason
        self._admission.leave(self)


def test_idle_connections_push_each_other_out() -> None:
    admission = Admission(waiting=8, waiting_per_address=3, publishing=1)
    first = [Held(admission, "192.0.2.1") for _ in range(3)]
    admission.advance(first[0], Stage.ASKING)
    more = [Held(admission, "192.0.2.1") for _ in range(3)]
    assert [one.reason != "" for one in (*first, *more)] == [False, True, True, True, False, False]
    # From many addresses, the total counts; again the connection at the earliest stage ends first.
    others = [Held(admission, f"2001:db8:{number:x}::1") for number in range(20)]
    assert len(admission.waiting()) == 8 and first[0].reason == "" and others[-1].reason == ""
    # An IPv6 /64 counts as one address; publishers do not count.
    for number in range(5):
        Held(admission, f"2001:db8::{number:x}")
    assert sum(one.address.startswith("2001:db8::") for one in admission.waiting()) <= 3
    assert admission.advance(first[0], Stage.PUBLISHING)
    assert not admission.advance(others[-1], Stage.PUBLISHING)
    admission.leave(first[0])
    assert admission.advance(others[-1], Stage.PUBLISHING)
