"""The summary of a ledger that forgets: what an endless channel keeps, so that its ledger stays bounded.

If only the DVR window is kept, the lines of chunks that have left it are useless. So from time to time, the first part of the
ledger is replaced by its first line and a ``state`` line that records everything still relevant, and the parts in between are
deleted.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Literal

from pydantic import Field

from streamwave.manifest.timeline import Period, SegmentRef, Timeline, Track
from streamwave.model import Frozen, Rational, Rendition


class TrackState(Frozen):
    """The state of a ``Track``."""

    rendition: Rendition
    timescale: int = Field(gt=0)
    codecs: str
    init_size: int
    frame_rate: Rational | None
    removed: int
    longest: int
    segments: tuple[tuple[int, int, int], ...]


class PeriodState(Frozen):
    """The state of a ``Period``."""

    name: str
    start: Rational
    wall_unix_ms: int | None
    tracks: tuple[TrackState, ...]
    longest_chunk: Rational = Fraction(0)
    captions: bool = False
    captions_at_start: bool = False


class StateLine(Frozen):
    """Everything still relevant from the parts before ``part``. ``lines`` are the original period lines of all sessions.

    ``left`` names the objects that have left the window but are not deleted yet.
    """

    type: Literal["state"] = "state"
    part: int
    lines: tuple[dict[str, Any], ...]
    periods: tuple[PeriodState, ...]
    gone_periods: int
    gone_segments: dict[str, int]
    gone_renditions: tuple[Rendition, ...]
    longest: Rational
    next_chunk: int
    chunks: int = 0
    black_chunks: int
    silent_chunks: int
    damaged_chunks: int = 0
    filled_numbers: tuple[int, ...]
    info: dict[str, str]
    left: tuple[str, ...]


def snapshot(timeline: Timeline) -> dict[str, Any]:
    """The fields of a ``StateLine`` that describe ``timeline``."""
    periods = tuple(
        PeriodState(
            name=period.name, start=period.start, wall_unix_ms=period.wall_unix_ms, longest_chunk=period.longest_chunk,
            captions=period.captions, captions_at_start=period.captions_at_start,
            tracks=tuple(
                TrackState(
                    rendition=t.rendition, timescale=t.timescale, codecs=t.codecs, init_size=t.init_size,
                    frame_rate=t.frame_rate, removed=t.removed, longest=t.longest, segments=tuple(t.segments),
                )
                for t in period.tracks.values()
            ),
        )
        for period in timeline.periods
    )  # fmt: skip
    return {
        "periods": periods,
        "gone_periods": timeline.gone_periods,
        "gone_segments": timeline.gone_segments,
        "gone_renditions": tuple(timeline.gone_renditions.values()),
        "longest": timeline.longest,
        "info": timeline.info,
    }


def restore(timeline: Timeline, state: StateLine) -> None:
    """Fill the empty ``timeline`` from ``state``."""
    for period in state.periods:
        tracks = {
            t.rendition.name: Track(
                t.rendition, t.timescale, t.codecs, t.init_size, t.frame_rate,
                [SegmentRef(*segment) for segment in t.segments], t.removed, t.longest,
            )
            for t in period.tracks
        }  # fmt: skip
        timeline.periods.append(Period(
            period.name, period.start, tracks, period.wall_unix_ms, period.longest_chunk, period.captions,
            period.captions_at_start,
        ))  # fmt: skip
    timeline.gone_periods = state.gone_periods
    timeline.gone_segments = dict(state.gone_segments)
    timeline.gone_renditions = {rendition.name: rendition for rendition in state.gone_renditions}
    timeline.longest = state.longest
    timeline.info = dict(state.info)
