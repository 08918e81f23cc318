"""Manifests that are rendered from what is left of the ones before are, to the byte, those that are rendered anew."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

import pytest

from streamwave.errors import MediaError
from streamwave.manifest.dash import render_mpd
from streamwave.manifest.hls import playlist_renditions, render_media
from streamwave.manifest.memo import Memo
from streamwave.manifest.timeline import SegmentRef, Timeline, Track
from tests.unit.manifest.samples import AUDIO, CREATED_MS, FULL, NTSC, SMALL, period, track

NOW = CREATED_MS + 1_000_000


@pytest.mark.parametrize("seed", range(30))
def test_a_growing_broadcast(seed: int) -> None:
    """Random lengths, periods with other rates and renditions, with and without a DVR window, up to the recording."""
    chance = random.Random(seed)
    window_ms = chance.choice([None, 3000, 20_000])
    memo, timeline = Memo(), Timeline(CREATED_MS, 2000, dvr_window_ms=window_ms)
    whole = Timeline(CREATED_MS, 2000)  # what the recording is made of
    for step in range(60):
        if not timeline.periods or chance.random() < 0.05:
            begin_period(chance, step, timeline, whole)
        lengths = [chance.choice([60, 60, 60, 61, 1]) for _ in range(chance.choice([1, 1, 1, 3]))]
        for name in timeline.periods[-1].tracks:
            for grown in (timeline, whole):
                append(grown.periods[-1].tracks[name], lengths, size=step + 1)
        timeline.trim()
        if chance.random() < 0.8:  # not every chunk gets as far as a manifest
            same(timeline, memo)
    timeline.ended = whole.ended = True
    same(timeline, memo)
    same(whole, memo)


def begin_period(chance: random.Random, step: int, *timelines: Timeline) -> None:
    rate = chance.choice([NTSC, Fraction(25)])
    renditions = chance.choice([(FULL, SMALL, AUDIO), (FULL, AUDIO), (SMALL,), (FULL, SMALL)])
    for timeline in timelines:
        tracks = [track(rendition, [], rate=rate) for rendition in renditions]
        wall_unix_ms = CREATED_MS + 1000 * step
        timeline.periods.append(period(f"p{step}", timeline.duration, *tracks, wall_unix_ms=wall_unix_ms))


def append(grown: Track, lengths: list[int], size: int) -> None:
    for length in lengths:
        ticks = length * (1024 if grown.rendition.kind == "audio" else 1001)
        grown.append(SegmentRef(grown.end, ticks, size))


def same(timeline: Timeline, memo: Memo) -> None:
    assert render_mpd(timeline, now_unix_ms=NOW, memo=memo) == render_mpd(timeline, now_unix_ms=NOW)
    for rendition in playlist_renditions(timeline):
        assert render_media(timeline, rendition.name, memo) == render_media(timeline, rendition.name)


def test_what_was_rendered_is_not_rendered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from streamwave import layout

    timeline, memo = Timeline(CREATED_MS, 2000, [period("p0", 0, track(FULL, [60] * 500))]), Memo()
    render_media(timeline, "720p", memo)
    named: list[object] = []
    usual = layout.segment_name

    def noted(*parts: Any) -> str:
        named.append(parts[2])
        return usual(*parts)

    monkeypatch.setattr(layout, "segment_name", noted)
    timeline.periods[0].tracks["720p"].append(SegmentRef(timeline.periods[0].tracks["720p"].end, 60_060, 1))
    render_media(timeline, "720p", memo)
    assert named == [500 * 60_060]


def test_boundaries_are_still_compared_behind_those_that_are_known() -> None:
    timeline, memo = (
        Timeline(CREATED_MS, 2000, [period("p0", 0, track(FULL, [60] * 3), track(SMALL, [60] * 3))]),
        Memo(),
    )
    render_mpd(timeline, now_unix_ms=NOW, memo=memo)
    for name, length in (("720p", 60), ("360p", 59)):
        append(timeline.periods[0].tracks[name], [length], size=1)
    with pytest.raises(MediaError, match="boundaries of 360p differ"):
        render_mpd(timeline, now_unix_ms=NOW, memo=memo)
