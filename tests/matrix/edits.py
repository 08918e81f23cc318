"""Replaces the edit lists of MP4 files (ISO/IEC 14496-12, 8.6.6)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

from streamwave.mp4.boxes import Box, Fields, box, find, full_box, iter_boxes, need

#: An edit: its length and its start in the track (None: an empty edit), in seconds.
Edit = tuple[Fraction, Fraction | None]
#: The usual media rate (16.16 fixed point); 0 means a dwell, which shows a single frame.
USUAL_RATE = 1 << 16


def edited(
    pictures: Sequence[Edit] | None = None,
    sound: Sequence[Edit] | None = None,
    rate: int = USUAL_RATE,
    *,
    wide: bool = False,
) -> Callable[[Path, Path], None]:
    """A rework that gives the tracks these edits, all with the media rate ``rate``, in 64 bits if ``wide``; other tracks
    keep theirs.

    Time 0 is the first sample that the muxer presents. The file's index must follow its media, as is the default, or its
    fragments must be addressed relative to themselves.
    """

    def rework(source: Path, target: Path) -> None:
        data = source.read_bytes()
        parts = [
            _moov(data, one, pictures, sound, rate, wide) if one.type == "moov" else data[one.start : one.end]
            for one in iter_boxes(data)
        ]
        target.write_bytes(b"".join(parts))

    return rework


def _moov(
    data: bytes, moov: Box, pictures: Sequence[Edit] | None, sound: Sequence[Edit] | None, rate: int, wide: bool
) -> bytes:
    movie = _timescale(data, need(data, "mvhd", moov.payload, moov.end))
    children = []
    for child in iter_boxes(data, moov.payload, moov.end):
        content = data[child.start : child.end]
        if child.type == "trak":
            handler = Fields(data, need(data, "mdia/hdlr", child.payload, child.end)).raw(12)[8:]
            edits = pictures if handler == b"vide" else sound
            content = content if edits is None else _track(data, child, edits, movie, rate, wide)
        children.append(content)
    return box("moov", *children)


def _track(data: bytes, track: Box, edits: Sequence[Edit], movie: int, rate: int, wide: bool) -> bytes:
    media = _timescale(data, need(data, "mdia/mdhd", track.payload, track.end))
    old, first = find(data, "edts/elst", track.payload, track.end), 0
    if old is not None:
        first = struct.unpack_from(">i", data, old.payload + 12)[0]
    row = struct.Struct(">QqI" if wide else ">IiI")
    rows = [
        row.pack(round(length * movie), -1 if at is None else first + round(at * media), rate) for length, at in edits
    ]
    edts = box("edts", full_box("elst", int(wide), 0, struct.pack(">I", len(rows)), *rows))
    parts = []
    for child in iter_boxes(data, track.payload, track.end):
        if child.type == "mdia":
            parts.append(edts)
        if child.type != "edts":
            parts.append(data[child.start : child.end])
    return box("trak", *parts)


def _timescale(data: bytes, header: Box) -> int:
    return int(struct.unpack_from(">I", data, header.payload + (20 if data[header.payload] else 12))[0])


def moving_edits(data: bytes) -> dict[str, list[tuple[int, int, int]]]:
    """The edit lists of a file or an init segment, except those that just show the whole track.

    By handler ("vide", "soun"): length in ticks of the movie, start in ticks of the track, and media rate.
    """
    found = {}
    moov = need(data, "moov")
    for track in (one for one in iter_boxes(data, moov.payload, moov.end) if one.type == "trak"):
        elst = find(data, "edts/elst", track.payload, track.end)
        if elst is None:
            continue
        row = ">QqI" if data[elst.payload] else ">IiI"
        rows = list(struct.iter_unpack(row, data[elst.payload + 8 : elst.end]))
        if [one[1:] for one in rows] != [(0, USUAL_RATE)]:
            handler = Fields(data, need(data, "mdia/hdlr", track.payload, track.end)).raw(12)[8:]
            found[handler.decode()] = rows
    return found
