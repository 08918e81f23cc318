"""Packets of MPEG-TS."""

from __future__ import annotations

import random

PACKET, PAT, PMT = 188, 0, 0x1000


def crc(data: bytes) -> bytes:
    """The check sum of a section, by the table of remainders."""
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
        table.append(value)
    rest = 0xFFFFFFFF
    for byte in data:
        rest = (rest << 8 & 0xFFFFFFFF) ^ table[rest >> 24 ^ byte]
    return rest.to_bytes(4, "big")


def packet(pid: int, payload: bytes, *, starts: bool = False) -> bytes:
    return (bytes([0x47, 0x40 * starts | pid >> 8, pid & 0xFF, 0x10]) + payload).ljust(PACKET, b"\xff")


def table(pid: int, kind: int, number: int, body: bytes, *, wrong: bool = False) -> bytes:
    section = (
        bytes([kind]) + (0xB000 | len(body) + 9).to_bytes(2, "big") + number.to_bytes(2, "big") + b"\xc1\0\0" + body
    )
    return packet(pid, b"\0" + section + (b"oops" if wrong else crc(section)), starts=True)


def pat(**programs: int) -> bytes:
    pairs = [(int(name[1:]), pid) for name, pid in programs.items()]
    body = b"".join(number.to_bytes(2, "big") + (0xE000 | pid).to_bytes(2, "big") for number, pid in pairs)
    return table(PAT, 0, 1, body)


def pmt(*tracks: tuple[int, int, bytes], number: int = 1, pid: int = PMT, wrong: bool = False) -> bytes:
    body = b"\xe1\0\xf0\0"
    for kind, track, said in tracks:
        body += bytes([kind]) + (0xE000 | track).to_bytes(2, "big") + (0xF000 | len(said)).to_bytes(2, "big") + said
    return table(pid, 2, number, body, wrong=wrong)


def media(count: int, *pids: int) -> bytes:
    noise = random.Random(count)
    return b"".join(packet(pid, noise.randbytes(184)) for _ in range(count) for pid in pids or (256, 257))
