"""Gaps: empty edits in the middle of an MP4 file, in whose place libavformat repeats the beginning of the media."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from av import Packet

from streamwave.errors import MediaError
from streamwave.ffmpeg.localfile import open_local
from streamwave.ffmpeg.mp4file import index_of
from streamwave.mp4.boxes import Box, Fields, find, find_all, need

#: Half-open ranges of the presentation, in seconds.
Gaps = tuple[tuple[Fraction, Fraction], ...]
#: Tolerance: libavformat rounds each edit to the ticks of its track, so later edits may be off by some ticks.
ROUNDING_S = Fraction(1, 1000)
#: Largest index that is read, because it is read as a whole.
MOST_INDEX_BYTES = 64_000_000
#: Most boxes before the index.
MOST_BOXES = 10_000
#: Most edits that are read, because each packet is compared with each gap.
MOST_EDITS = 1000


def gaps_of(url: str, format_name: str) -> dict[int, Gaps]:
    """The gaps of each track by its track_ID; none if ``url`` is not a local MP4 file, or is damaged."""
    if not url.startswith("file:") or "mp4" not in format_name.split(","):
        return {}
    file = open_local(url)
    try:
        moov = index_of(file, MOST_INDEX_BYTES, MOST_BOXES)
        movie = _after_times(moov, need(moov, "mvhd"))
        return dict(_track(moov, track, movie) for track in find_all(moov, "trak"))
    except MediaError:
        return {}
    finally:
        file.close()


def in_gap(gaps: Gaps, packet: Packet[Any]) -> bool:
    """Whether the presentation time of ``packet`` is in a gap."""
    if not gaps or packet.pts is None:
        return False
    at = (packet.pts + Fraction(1, 2)) * Fraction(packet.time_base or 0) + ROUNDING_S
    return any(begin <= at < end for begin, end in gaps)


def _after_times(data: bytes, header: Box) -> int:
    """The field after the two times of a header: the timescale in mvhd, track_ID in tkhd."""
    fields = Fields(data, header)
    version, _ = fields.version_flags()
    fields.raw(16 if version else 8)
    return fields.unsigned(4)


def _track(data: bytes, track: Box, movie: int) -> tuple[int, Gaps]:
    number = _after_times(data, need(data, "tkhd", track.payload, track.end))
    elst = find(data, "edts/elst", track.payload, track.end)
    if elst is None or not movie:
        return number, ()
    fields = Fields(data, elst)
    version, _ = fields.version_flags()
    wide = 8 if version else 4
    at, gaps, shown = Fraction(0), list[tuple[Fraction, Fraction]](), False
    for _ in range(min(fields.unsigned(4), MOST_EDITS)):
        length, begin, _ = Fraction(fields.unsigned(wide), movie), fields.signed(wide), fields.raw(4)
        if begin == -1 and shown:
            gaps.append((at, at + length))
        shown = shown or begin != -1
        at += length
    return number, tuple(gaps)
