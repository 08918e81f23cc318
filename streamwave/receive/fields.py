"""H.264 pictures that are coded as two fields: which field a packet holds, read from its slice headers."""

from __future__ import annotations

from dataclasses import dataclass

from streamwave.errors import MediaError
from streamwave.mp4.bits import Bits
from streamwave.receive.nals import nal_type, nals

_SLICE, _IDR, _SPS = 1, 5, 7
#: Profiles whose parameter sets begin with the colour format (ITU-T H.264, 7.3.2.1.1).
_WITH_COLOUR = frozenset({44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244})


@dataclass(frozen=True)
class Field:
    """One field of the picture with the number ``picture`` (``frame_num``)."""

    bottom: bool
    picture: int
    idr: bool

    def ends(self, first: Field) -> bool:
        """Whether this is the second field of the picture that begins with ``first`` (7.4.1.2.4)."""
        return self.bottom != first.bottom and self.picture == first.picture and not self.idr


class Fields:
    """Reads the slice headers of one track."""

    def __init__(self, extradata: bytes | None) -> None:
        self._interlaced, self._number_bits, self._planes = False, 0, False
        for unit in _sets(extradata):
            self._learn(unit)

    def alone(self, data: bytes, extradata: bytes | None) -> Field | None:
        """The field that a packet holds; None if it holds a whole picture or cannot be read."""
        found: set[Field] = set()
        for unit in nals(data, extradata):
            kind = nal_type(unit, "h264")
            if kind == _SPS:
                self._learn(unit)
            elif kind in (_SLICE, _IDR):
                if not self._interlaced:
                    return None
                field = self._field(unit)
                if field is None:
                    return None
                found.add(field)
        return found.pop() if len(found) == 1 else None

    def _field(self, unit: bytes) -> Field | None:
        """Read a slice header (7.3.3)."""
        bits = Bits(unit[:40])
        try:
            bits.ue(), bits.ue(), bits.ue()
            bits.u(2 if self._planes else 0)
            number = bits.u(self._number_bits)
            return Field(bool(bits.u()), number, nal_type(unit, "h264") == _IDR) if bits.u() else None
        except MediaError:
            return None

    def _learn(self, unit: bytes) -> None:
        """Read a sequence parameter set (7.3.2.1.1). If it cannot be read, no packet counts as a field."""
        self._interlaced = False
        bits = Bits(unit)
        try:
            profile = bits.u(8)
            bits.u(16), bits.ue()
            self._planes = False
            if profile in _WITH_COLOUR:
                if bits.ue() == 3:
                    self._planes = bool(bits.u())
                bits.ue(), bits.ue(), bits.u()
                if bits.u():
                    return  # scaling matrices
            self._number_bits = bits.ue() + 4
            order = bits.ue()
            if order == 0:
                bits.ue()
            elif order == 1:
                bits.u(), bits.ue(), bits.ue()
                for _ in range(bits.ue()):
                    bits.ue()
            bits.ue(), bits.u(), bits.ue(), bits.ue()
            self._interlaced = not bits.u()
        except MediaError:
            return


def _sets(extradata: bytes | None) -> list[bytes]:
    """The sequence parameter sets in ``extradata`` (a record as in ISO/IEC 14496-15, 5.3.3.1, or a byte stream)."""
    if not extradata:
        return []
    if extradata[0] != 1:
        return [unit for unit in nals(extradata, None) if nal_type(unit, "h264") == _SPS]
    found, at = [], 6
    for _ in range(extradata[5] & 31 if len(extradata) > 6 else 0):
        size = int.from_bytes(extradata[at : at + 2], "big")
        found.append(extradata[at + 2 : at + 2 + size])
        at += 2 + size
    return found
