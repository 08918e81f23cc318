"""MPEG-TS as a flow that ends where the tracks of its program change (ISO/IEC 13818-1:2019, 2.4.4).

PyAV knows only the tracks that libavformat found when it opened a source, each with its first codec. So the flow ends before
the first table that changes the tracks in use, and another flow begins with it and is opened anew. Tables that only add
unused tracks are hidden from libavformat.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_SYNC, _PACKET = 0x47, 188
#: Distances between packets: plain, with a timestamp before each packet (M2TS), with parity after each.
_STRIDES = (188, 192, 204)
#: Consecutive sync bytes, one packet apart, that prove that the data is MPEG-TS.
_SURE = 5
#: Stream types (table 2-34, and registered ones). Private data (6) is identified by its descriptors.
_VIDEO = frozenset({0x01, 0x02, 0x10, 0x1B, 0x24, 0x33, 0x42, 0xD1, 0xEA})
_AUDIO = frozenset({0x03, 0x04, 0x0F, 0x11, 0x81, 0x82, 0x83, 0x84, 0x85, 0x87, 0x8A, 0xA1})
_PRIVATE = 0x06
#: Descriptors of AC-3, Enhanced AC-3, DTS and AAC (ETSI EN 300 468, 6.1), and registered format identifiers.
_AUDIO_DESCRIPTORS, _REGISTRATION = frozenset({0x6A, 0x7A, 0x7B, 0x7C}), 0x05
_AUDIO_FORMATS = frozenset({b"AC-3", b"EAC3", b"Opus", b"DTS1", b"DTS2", b"DTS3"})


@dataclass(frozen=True)
class _Track:
    """An elementary stream of a program."""

    pid: int
    kind: str  # video, audio or data, by its stream type
    type: int


class ProgramFlow:
    """A file object for libavformat. ``following`` is the flow that continues after this one has ended, if there is one.

    Data that is not MPEG-TS passes unchanged.
    """

    format = None  # libavformat detects the format

    def __init__(self, pieces: Iterator[bytes], head: bytes = b"", stride: int = 0) -> None:
        self.following: ProgramFlow | None = None
        self._pieces = pieces
        self._data = bytearray(head)
        self._ready = bytearray()
        self._stride = stride  # 0: not known yet
        self._maps: dict[int, int] = {}  # program numbers by the PID of their table
        # The first table of each program, in order of arrival.
        self._tables: dict[int, tuple[_Track, ...]] = {}
        self._pat = b""
        self._last: dict[int, tuple[bytes, bool]] = {}  # by PID, the newest table, and whether it was hidden

    def settle(self, *, known: bool, pictures: bool = True) -> None:
        """Called when libavformat has opened the source; has no effect here."""

    def read(self, size: int) -> bytes:
        """The next bytes, at most ``size``; empty at the end."""
        while not self._ready and self.following is None:
            piece = next(self._pieces, b"")
            self._data += piece
            self._sort()
            if not piece and self.following is None:
                self._ready, self._data = self._ready + self._data, bytearray()
                break
        out = bytes(self._ready[:size])
        del self._ready[:size]
        return out

    def _sort(self) -> None:
        """Release received data, up to the last complete packet or to the table that ends the flow."""
        at = self._synced(0)
        while at + self._stride <= len(self._data) and self._stride:
            if self._data[at] != _SYNC:
                at = self._synced(at)
                continue
            pid = (self._data[at + 1] & 0x1F) << 8 | self._data[at + 2]
            if pid == 0 or pid in self._maps:
                packet = bytes(self._data[at : at + self._stride])
                before, kept_back = self._last.get(pid, (b"", False))
                if packet[4:_PACKET] != before:
                    section = _section(packet)
                    if section is not None and self._ends_before(pid, section, packet):
                        self.following = ProgramFlow(self._pieces, self._pat + bytes(self._data[at:]), self._stride)
                        self._ready += self._data[:at]
                        self._data.clear()
                        return
                    kept_back = section is not None and self._adds(pid, section)
                    self._last[pid] = packet[4:_PACKET], kept_back
                if kept_back:
                    del self._data[at : at + self._stride]
                    continue
            at += self._stride
        self._ready += self._data[:at]
        del self._data[:at]

    def _synced(self, at: int) -> int:
        """Position of the next packet; the end of the data if none can be found."""
        start = at - 1
        while (start := self._data.find(_SYNC, start + 1)) >= 0:
            for stride in (self._stride,) if self._stride else _STRIDES:
                last = start + (_SURE - 1) * stride
                if last < len(self._data) and all(self._data[n] == _SYNC for n in range(start, last + 1, stride)):
                    self._stride = stride
                    return start
            if start + _SURE * _STRIDES[-1] > len(self._data):
                return start  # undecided until more data arrives
        return len(self._data)

    def _ends_before(self, pid: int, section: bytes, packet: bytes) -> bool:
        """Whether tracks in use disappear or change from this table on. Records the table's content."""
        used = next(iter(self._tables), None)
        if pid == 0:
            programs = _programs(section)
            if programs is None:
                return False
            places = [place for place, number in self._maps.items() if number == used]
            if used is not None and any(programs.get(place) != used for place in places):
                self._pat = b""  # the new flow starts with this table anyway
                return True
            self._maps, self._pat = programs, packet
            return False
        tracks, number = _tracks(section), self._maps[pid]
        if tracks is None:
            return False
        before = self._tables.setdefault(number, tracks)
        if used is None or number != used:
            return False
        kept = all(track in tracks for track in before if track.kind != "data")
        new = {track.kind for track in tracks} - {track.kind for track in before} - {"data"}
        return not kept or bool(new)

    def _adds(self, pid: int, section: bytes) -> bool:
        """Whether a table differs from the first one of its program."""
        tracks = _tracks(section) if pid else None
        return tracks is not None and tracks != self._tables[self._maps[pid]]


def _section(packet: bytes) -> bytes | None:
    """The table that begins in a packet, without its checksum, if it is complete, undamaged and in force; else None."""
    if not packet[1] & 0x40 or packet[1] & 0x80 or not packet[3] & 0x10:
        return None
    at = 4 + (1 + packet[4] if packet[3] & 0x20 else 0)
    if at >= _PACKET:
        return None
    at += 1 + packet[at]
    if at + 8 > _PACKET:
        return None
    end = at + 3 + ((packet[at + 1] & 0x0F) << 8 | packet[at + 2])
    if end > _PACKET or end - at < 12 or _crc(packet[at:end]) or not packet[at + 5] & 1:
        return None
    return packet[at : end - 4]


def _programs(section: bytes) -> dict[int, int] | None:
    """Program numbers by the PIDs of their tables (2.4.4.3); None if the table is not the complete list."""
    if section[0] != 0 or section[7] != 0:
        return None
    entries = [section[at : at + 4] for at in range(8, len(section) - 3, 4)]
    pairs = [(int.from_bytes(one[:2], "big"), int.from_bytes(one[2:], "big") & 0x1FFF) for one in entries]
    return {pid: number for number, pid in pairs if number} or None


def _tracks(section: bytes) -> tuple[_Track, ...] | None:
    """The tracks of a program (2.4.4.9); None for another table, or one without tracks."""
    if section[0] != 2 or len(section) < 12:
        return None
    at, found = 12 + ((section[10] & 0x0F) << 8 | section[11]), []
    while at + 5 <= len(section):
        size = (section[at + 3] & 0x0F) << 8 | section[at + 4]
        descriptors = section[at + 5 : at + 5 + size]
        pid = (section[at + 1] & 0x1F) << 8 | section[at + 2]
        found.append(_Track(pid, _kind(section[at], descriptors), section[at]))
        at += 5 + size
    return tuple(found) or None


def _kind(type: int, descriptors: bytes) -> str:
    if type in _VIDEO:
        return "video"
    if type in _AUDIO:
        return "audio"
    at = 0
    while type == _PRIVATE and at + 2 <= len(descriptors):
        tag, size = descriptors[at], descriptors[at + 1]
        if tag in _AUDIO_DESCRIPTORS or (tag == _REGISTRATION and descriptors[at + 2 : at + 6] in _AUDIO_FORMATS):
            return "audio"
        at += 2 + size
    return "data"


def _crc(data: bytes) -> int:
    """CRC-32 of a section including its checksum (annex A): zero if it is correct."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc
