"""Boxes of the ISO base media file format: parse them in place, and build them (ISO/IEC 14496-12, 4.2).

A box is a size, a four-character code and a payload; a full box adds a version and flags. Parsing copies no payloads: a `Box`
only states the position of a box in the data.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from streamwave.errors import MediaError


class Box(NamedTuple):
    """Position of a box: the half-open range [start, end) is the whole box, [payload, end) is what follows its header."""

    type: str
    start: int
    payload: int
    end: int


def iter_boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """The consecutive boxes in ``data[start:end]``.

    A box that is "open to the end of the file" (size 0) is refused: finished media has none, and no segment could follow it.

    Raises:
        MediaError: a header or payload is truncated, or a box has size 0.
    """
    limit = len(data) if end is None else end
    while start < limit:
        if limit - start < 8:
            raise MediaError(f"truncated MP4: {limit - start} stray bytes at {start}; re-create the file")
        size, code = struct.unpack_from(">I4s", data, start)
        header = 8
        if size == 1:
            if limit - start < 16:
                raise MediaError(f"truncated MP4: the header of the box at {start} is incomplete; re-create the file")
            (size,) = struct.unpack_from(">Q", data, start + 8)
            header = 16
        if size < header:
            raise MediaError(f"damaged MP4: the box at {start} claims {size} bytes; re-create the file")
        if size > limit - start:
            raise MediaError(
                f"truncated MP4: box {code!r} at {start} has {size} bytes but {limit - start} are left; "
                "re-create the file"
            )
        yield Box(code.decode("latin-1"), start, start + header, start + size)
        start += size


def find_all(data: bytes, path: str, start: int = 0, end: int | None = None) -> list[Box]:
    """Every box at ``path`` ("moof/traf/trun"), in order. Each step but the last must be a plain container box."""
    step, _, rest = path.partition("/")
    here = [box for box in iter_boxes(data, start, end) if box.type == step]
    if not rest:
        return here
    return [found for box in here for found in find_all(data, rest, box.payload, box.end)]


def find(data: bytes, path: str, start: int = 0, end: int | None = None) -> Box | None:
    """The first box at ``path``, or None."""
    return next(iter(find_all(data, path, start, end)), None)


def need(data: bytes, path: str, start: int = 0, end: int | None = None) -> Box:
    """The only box at ``path``; MediaError if it is missing or not the only one."""
    found = find_all(data, path, start, end)
    if len(found) != 1:
        raise MediaError(f"damaged MP4: {len(found)} boxes {path} instead of one; re-create the file")
    return found[0]


def box(code: str, *payload: bytes) -> bytes:
    """A box with a 32-bit size, or a 64-bit one if the payload is too large for that."""
    size = 8 + sum(map(len, payload))
    if size < 1 << 32:
        return b"".join((struct.pack(">I4s", size, code.encode("latin-1")), *payload))
    return b"".join((struct.pack(">I4sQ", 1, code.encode("latin-1"), size + 8), *payload))


def full_box(code: str, version: int, flags: int, *payload: bytes) -> bytes:
    """A box whose payload begins with a version and 24 bits of flags."""
    return box(code, struct.pack(">I", version << 24 | flags), *payload)


class Fields:
    """Reads consecutive big-endian fields from the payload of a box; MediaError if they run out."""

    def __init__(self, data: bytes, where: Box) -> None:
        self._data, self._box, self.position = data, where, where.payload

    def raw(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        if size > self._box.end - self.position:
            raise MediaError(
                f"damaged MP4: box {self._box.type!r} at {self._box.start} is too short for its content; "
                "re-create the file"
            )
        self.position += size
        return self._data[self.position - size : self.position]

    def unsigned(self, size: int) -> int:
        """The next ``size`` bytes as an unsigned number."""
        return int.from_bytes(self.raw(size), "big")

    def signed(self, size: int) -> int:
        """The next ``size`` bytes as a number in two's complement."""
        return int.from_bytes(self.raw(size), "big", signed=True)

    def version_flags(self) -> tuple[int, int]:
        """The version and the flags of a full box."""
        word = self.unsigned(4)
        return word >> 24, word & 0xFFFFFF
