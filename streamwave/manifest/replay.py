"""How the lines of a ledger extend a timeline. Replaying all of them gives the timeline that was published."""

from __future__ import annotations

from fractions import Fraction

from streamwave.layout import init_name, segment_name
from streamwave.manifest.lines import BroadcastLine, ChunkLine, PeriodLine
from streamwave.manifest.timeline import Period, SegmentRef, Timeline, Track


def begin(line: BroadcastLine, dvr_window_ms: int | None) -> Timeline:
    """The empty timeline of a broadcast, limited to its last ``dvr_window_ms`` milliseconds unless that is None."""
    return Timeline(
        created_unix_ms=line.created_unix_ms,
        segment_ms=line.segment_ms,
        dvr_window_ms=dvr_window_ms,
        info=dict(line.info),
    )


def open_period(timeline: Timeline, line: PeriodLine) -> None:
    """Append an empty period."""
    tracks = {
        t.rendition.name: Track(t.rendition, t.timescale, t.codecs, t.init_size, t.frame_rate) for t in line.tracks
    }
    timeline.periods.append(Period(line.name, Fraction(line.start), tracks, line.wall_unix_ms))


def add_chunk(timeline: Timeline, line: ChunkLine) -> list[str]:
    """Append a chunk to the last period; the names of the objects that left the DVR window because of it.

    Raises:
        MediaError: a segment does not begin where the last one ended.
        LookupError: there is no period, or it lacks a rendition of the chunk.
    """
    period = timeline.periods[-1]
    is_first = not period.longest_chunk
    for name, segments in line.segments.items():
        for segment in segments:
            period.tracks[name].append(SegmentRef(*segment))
        length = Fraction(sum(duration for _, duration, _ in segments), period.tracks[name].timescale)
        period.longest_chunk = max(period.longest_chunk, length)
    period.captions |= line.captions
    period.captions_at_start |= line.captions and is_first
    return _unnamed(timeline, timeline.trim())


def close_pauses(timeline: Timeline) -> None:
    """Let each period of a recording begin where the one before it ends."""
    for recorded, start in zip(timeline.periods, timeline.recorded_starts(), strict=True):
        recorded.start = start


def _unnamed(timeline: Timeline, gone: list[tuple[str, str, SegmentRef]]) -> list[str]:
    """Names of segments that were trimmed, and of the init segments of periods that are gone with them."""
    listed = {period.name for period in timeline.periods}
    names = [segment_name(period, rendition, segment.time) for period, rendition, segment in gone]
    return names + [init_name(period, rendition) for period, rendition, _ in gone if period not in listed]
