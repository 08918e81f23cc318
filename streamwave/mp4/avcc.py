"""avcC: the configuration of an H.264 decoder (ISO/IEC 14496-15, 5.3.3.1). Contained in: the sample entry avc1."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from streamwave.errors import MediaError
from streamwave.mp4.boxes import box, iter_boxes, need
from streamwave.mp4.init import VISUAL_ENTRY, sample_entry

#: profile_idc of the profiles whose records end with the chroma format and bit depths.
_WITH_EXTENSION = frozenset({100, 110, 122, 144})
#: 4:2:0, 8 bits, no sequence parameter set extensions; reserved bits are ones.
_EXTENSION = bytes((0xFD, 0xF8, 0xF8, 0))
_MAX_SPS, _MAX_PPS = 31, 255


@dataclass(frozen=True)
class AvcConfiguration:
    """A configuration record. ``sps`` and ``pps`` are NAL units; in samples, ``nal_length_bytes`` bytes precede each
    NAL unit.
    """

    profile: int
    constraints: int
    level: int
    nal_length_bytes: int
    sps: tuple[bytes, ...]
    pps: tuple[bytes, ...]

    @property
    def parameter_sets(self) -> frozenset[bytes]:
        """All parameter sets."""
        return frozenset((*self.sps, *self.pps))

    @classmethod
    def read(cls, record: bytes) -> AvcConfiguration:
        """Parse ``record``; bytes after its end are ignored.

        Raises:
            MediaError: it is not a configuration record, or truncated.
        """
        if len(record) < 7 or record[0] != 1:
            raise MediaError("damaged MP4: unknown version of the H.264 configuration; re-create the file")
        sets: list[tuple[bytes, ...]] = []
        at = 5
        for mask in (0x1F, 0xFF):
            count, at, found = record[at] & mask if at < len(record) else 0, at + 1, list[bytes]()
            for _ in range(count):
                end = at + 2 + int.from_bytes(record[at : at + 2], "big")
                if not at + 2 < end <= len(record):
                    raise MediaError("damaged MP4: the H.264 configuration is truncated; re-create the file")
                found.append(record[at + 2 : end])
                at = end
            sets.append(tuple(found))
        return cls(record[1], record[2], record[3], (record[4] & 3) + 1, *sets)

    def joined(self, other: AvcConfiguration) -> AvcConfiguration:
        """One record for the video of both: a profile and level to which both conform. ``other``'s parameter sets come last.

        Raises:
            MediaError: there are more parameter sets than a record can hold.
        """
        sps = (*self.sps, *(one for one in other.sps if one not in self.sps))
        pps = (*self.pps, *(one for one in other.pps if one not in self.pps))
        if len(sps) > _MAX_SPS or len(pps) > _MAX_PPS:
            raise MediaError(
                f"{len(sps)} sequence and {len(pps)} picture parameter sets are more than an init segment holds"
            )
        return AvcConfiguration(
            max(self.profile, other.profile),
            self.constraints & other.constraints,
            max(self.level, other.level),
            4,
            sps,
            pps,
        )

    def write(self) -> bytes:
        """The record as bytes, for 8-bit video in 4:2:0."""
        head = bytes((1, self.profile, self.constraints, self.level, 0xFC | self.nal_length_bytes - 1))
        return b"".join(
            (
                head,
                bytes((0xE0 | len(self.sps),)), *map(_sized, self.sps),
                bytes((len(self.pps),)), *map(_sized, self.pps),
                _EXTENSION if self.profile in _WITH_EXTENSION else b"",
            )
        )  # fmt: skip


def _sized(nal: bytes) -> bytes:
    return struct.pack(">H", len(nal)) + nal


def configuration(init: bytes) -> AvcConfiguration:
    """The configuration record in the init segment of an H.264 track.

    Raises:
        MediaError: there is none.
    """
    entry = sample_entry(init)
    if entry.type != "avc1":
        raise MediaError(f"this init segment is for {entry.type!r}; use one for H.264")
    found = need(init, "avcC", entry.payload + VISUAL_ENTRY, entry.end)
    return AvcConfiguration.read(init[found.payload : found.end])


def with_configuration(init: bytes, record: AvcConfiguration) -> bytes:
    """``init`` with its configuration record replaced by ``record``."""
    return _rebuilt(
        init, 0, len(init), ("moov", "trak", "mdia", "minf", "stbl", "stsd", "avc1", "avcC"), record.write()
    )


#: Bytes before the first inner box, for boxes that are more than plain containers.
_FRONT = {"stsd": 8, "avc1": VISUAL_ENTRY}


def _rebuilt(data: bytes, start: int, end: int, path: Sequence[str], payload: bytes) -> bytes:
    parts = []
    for child in iter_boxes(data, start, end):
        if child.type != path[0]:
            parts.append(data[child.start : child.end])
        elif len(path) == 1:
            parts.append(box(child.type, payload))
        else:
            inner = child.payload + _FRONT.get(child.type, 0)
            parts.append(
                box(child.type, data[child.payload : inner], _rebuilt(data, inner, child.end, path[1:], payload))
            )
    return b"".join(parts)
