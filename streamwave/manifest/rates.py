"""Bit rates as the two manifest formats define them, computed in integers from the sizes of published segments.

DASH's bandwidth is a guarantee for buffering, HLS's a peak over about one target duration. Neither is the highest bit rate
of a single segment: a last segment of one frame would make a rendition look ten times as expensive as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from streamwave.manifest.timeline import SegmentRef, Track

#: While a broadcast is live, peaks are computed over this many of the newest segments (half an hour at 2 s), which bounds the
#: work; the ladder's limits cover the earlier ones.
RECENT_SEGMENTS = 900


def buffered_bps(segments: Sequence[SegmentRef], timescale: int, buffer_ms: int, floor_bps: int = 1) -> int:
    """Representation@bandwidth in bits per second (ISO/IEC 23009-1, 5.3.5.2), at least ``floor_bps``.

    The smallest bit rate at which a player can start at any segment, ``buffer_ms`` after its first bit began to arrive, and
    then receives every segment completely by its presentation time:
    bits(i..j) <= bandwidth * (buffer + time(j) - time(i)).
    """
    buffer_ticks = max(buffer_ms * timescale // 1000, 1)
    rate = max(floor_bps, 1)
    while True:
        # One pass finds the worst (i, j) for a given rate; the rate is raised until no segment is late.
        worst, worst_bits, worst_ticks = 0, 0, 1
        total, least, least_total, least_time = 0, None, 0, 0
        for segment in segments:
            level = total * timescale - rate * segment.time
            if least is None or level < least:
                least, least_total, least_time = level, total, segment.time
            total += segment.size * 8
            ticks = buffer_ticks + segment.time - least_time
            lacking = (total - least_total) * timescale - rate * ticks
            if lacking > worst:
                worst, worst_bits, worst_ticks = lacking, total - least_total, ticks
        if worst == 0:
            return rate
        rate = -(-worst_bits * timescale // worst_ticks)


def peak_bps(segments: Sequence[SegmentRef], timescale: int, target_s: int) -> int:
    """Peak segment bit rate in bits per second, rounded up (RFC 8216, 4.1).

    The highest bit rate of any run of segments that lasts 0.5 to 1.5 target durations; the average, if the track is shorter.
    """
    least, most = target_s * timescale, 3 * target_s * timescale  # in half ticks
    peak = 0
    for first in range(len(segments)):
        bits = ticks = 0
        for index in range(first, min(first + 64, len(segments))):  # limits the work if segments are absurdly short
            bits, ticks = bits + segments[index].size * 8, ticks + segments[index].duration
            if 2 * ticks > most:
                break
            if 2 * ticks >= least:
                peak = max(peak, -(-bits * timescale // ticks))
    ticks = sum(s.duration for s in segments)
    return peak or (-(-sum(s.size for s in segments) * 8 * timescale // ticks) if ticks else 0)


def average_bps(tracks: Iterable[Track]) -> int:
    """Average bit rate over consecutive tracks, in bits per second, rounded up."""
    bits, microseconds = 0, 0
    for track in tracks:
        bits += 8 * track.total_size
        microseconds += track.listed_ticks * 1_000_000 // track.timescale
    return -(-bits * 1_000_000 // microseconds) if microseconds else 0
