"""Read headers bit by bit: any data, and the payload of NAL units (ITU-T H.264, 7.2 and 9.1)."""

from __future__ import annotations

from streamwave.errors import MediaError

#: Enough for parameter sets and slice headers, which are all that is read. A limit is needed because the cost of each read
#: grows with the number of bytes.
_MAX_BYTES = 1024
#: Leading zeros of the longest Exp-Golomb code in H.264.
_MAX_ZEROS = 32


class BitReader:
    """Reads ``data`` from its first bit. Every method raises MediaError with the message ``cut_off`` if the bits run out."""

    def __init__(self, data: bytes, cut_off: str) -> None:
        self._value, self._left = int.from_bytes(data, "big"), len(data) * 8
        self._cut_off = cut_off

    def u(self, count: int = 1) -> int:
        """The next ``count`` bits as an unsigned number."""
        if count > self._left:
            raise MediaError(self._cut_off)
        self._left -= count
        return self._value >> self._left & (1 << count) - 1


class Bits(BitReader):
    """Reads the payload of ``nal``, which begins after its one-byte header."""

    def __init__(self, nal: bytes) -> None:
        raw = nal[1:_MAX_BYTES].replace(b"\x00\x00\x03", b"\x00\x00")  # emulation prevention (7.3.1)
        super().__init__(raw, "damaged H.264: a NAL unit is truncated; encode the source again")

    def ue(self) -> int:
        """An unsigned Exp-Golomb number (9.1)."""
        zeros = 0
        while not self.u():
            zeros += 1
            if zeros > _MAX_ZEROS:
                raise MediaError("damaged H.264: an impossible number in a NAL unit; encode the source again")
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        """A signed Exp-Golomb number (9.1.1)."""
        number = self.ue()
        return (number + 1) // 2 if number & 1 else -(number // 2)
