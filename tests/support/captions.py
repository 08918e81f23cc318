"""Captions inside H.264, as broadcast encoders write them: CEA-608 pairs in SEI messages (ATSC A/53 part 4, 6.2.3)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av

#: Control codes of CEA-608, channel 1: pop-on captions, row 15 at the left, end of caption (show it), erase the display.
_POP_ON, _ROW_15, _SHOW, _ERASE = (0x14, 0x20), (0x14, 0x70), (0x14, 0x2F), (0x14, 0x2C)
_NOTHING = (0x00, 0x00)


def caption_of(second: int) -> str:
    """The caption that is shown for one second, starting some frames before the end of ``second``."""
    return f"CAPTION {second}"


def add_captions(source: Path, target: Path, rate: int, *, begin_s: int = 0) -> None:
    """Copy the MP4 ``source``, which has H.264 video at ``rate`` frames per second, adding a new caption every second.

    Frames before ``begin_s`` stay unchanged.
    """
    with av.open(str(source)) as came, av.open(str(target), "w") as goes:
        streams = {stream.index: goes.add_stream_from_template(stream) for stream in came.streams}
        pairs: dict[int, tuple[int, int]] = {}
        for packet in came.demux():
            if packet.dts is None or packet.pts is None or packet.time_base is None:
                continue
            if packet.stream.type == "video" and packet.pts * packet.time_base >= begin_s:
                shown = round(packet.pts * packet.time_base * rate)
                if shown not in pairs:
                    first = shown // rate * rate
                    pairs |= {first + n: pair for n, pair in enumerate(_second(first // rate, rate))}
                made = av.Packet(_sei(pairs[shown]) + bytes(packet))
                made.pts, made.dts, made.time_base = packet.pts, packet.dts, packet.time_base
                made.duration, made.is_keyframe = packet.duration, packet.is_keyframe
            else:
                made = packet
            made.stream = streams[packet.stream.index]
            goes.mux(made)


def _second(number: int, rate: int) -> Iterator[tuple[int, int]]:
    text = caption_of(number).encode("ascii")
    text += b" " * (len(text) % 2)
    codes = [_POP_ON, _POP_ON, _ROW_15, _ROW_15, *zip(text[::2], text[1::2], strict=True), _ERASE, _ERASE, _SHOW, _SHOW]
    assert len(codes) <= rate
    yield from codes
    for _ in range(rate - len(codes)):
        yield _NOTHING


def _sei(pair: tuple[int, int]) -> bytes:
    """A NAL unit with a length prefix that carries one pair of field 1."""
    data = bytes(_odd(byte) for byte in pair)
    payload = b"\xb5\x00\x31GA94\x03" + bytes([0x40 | 1, 0xFF, 0xFC]) + data + b"\xff"
    nal = bytes([6, 4, len(payload)]) + payload + b"\x80"
    return len(nal).to_bytes(4, "big") + nal


def _odd(byte: int) -> int:
    """Add an odd parity bit to seven bits."""
    return byte | (0x80 if byte.bit_count() % 2 == 0 else 0)
