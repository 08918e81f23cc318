"""Mutations of inputs, reproducible by their seed."""

from __future__ import annotations

import random
import re

#: Interesting integers of one, two, four and eight bytes.
_EDGES = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    (1 << 63) - 1,
    (1 << 64) - 1,
)


_WORD = re.compile(rb'"[^"]*"|-?[0-9]+(?:\.[0-9]+)?|[A-Za-z_]+')
#: Interesting values for texts, without quotation marks.
_VALUES = (
    b"0", b"-1", b"1", b"1/0", b"0/0", b"1e999999999", b"1e-999999999", b"1e999", b"NaN", b"Infinity", b"4294967296",
    b"9223372036854775808", b"99999999999999999999999999", b"9" * 400, b"null", b"true", b"[]", b"{}", b"[" * 900, b"{" * 900,
    b'{"a":' * 400, b"\\ud800", b"\\u0000", b"\xed\xa0\x80", b"\xff", b"\0", b"../../..", b"%00", b"http://[", b"http://h:x@[::1/",
    b"file://[/x", b"~nobody-at-all/x", b"a" * 600, b"=", b"&", b"r=\"99999999\"",
)  # fmt: skip


def mutate_words(data: bytes, chance: random.Random) -> bytes:
    """``data``, which is a text, with one or two of its words replaced by interesting values."""
    for _ in range(chance.randint(1, 2)):
        words = list(_WORD.finditer(data))
        if not words:
            return data + chance.choice(_VALUES)
        word = chance.choice(words)
        new = chance.choice(_VALUES) if chance.randrange(4) else chance.choice(words)[0].strip(b'"')
        if word[0].startswith(b'"') != (chance.randrange(5) == 0):
            new = b'"' + new + b'"'
        data = data[: word.start()] + new + data[word.end() :]
    return data


def mutate(data: bytes, chance: random.Random, most: int = 8) -> bytes:
    """``data`` with one to ``most`` mutations: bits, bytes, numbers; pieces removed, duplicated, moved or cut off."""
    out = bytearray(data)
    for _ in range(chance.randint(1, most)):
        if not out:
            return chance.randbytes(chance.randint(1, 64))
        at = chance.randrange(len(out))
        size = min(len(out) - at, 1 << chance.randrange(10))
        match chance.randrange(8):
            case 0:
                out[at] ^= 1 << chance.randrange(8)
            case 1:
                out[at] = chance.randrange(256)
            case 2 | 3:
                wide = chance.choice((1, 2, 4, 8))
                number = chance.choice(_EDGES) & (1 << 8 * wide) - 1
                out[at : at + wide] = number.to_bytes(wide, chance.choice(("big", "little")))
            case 4:
                del out[at : at + size]
            case 5:
                out[at:at] = out[at : at + size]
            case 6:
                to = chance.randrange(len(out))
                out[to : to + size] = out[at : at + size]
            case _:
                if chance.randrange(4) == 0:
                    del out[at:]
                else:
                    out[at : at + size] = chance.randbytes(size)
    return bytes(out)
