import pytest

from streamwave.errors import MediaError
from streamwave.manifest.timeline import SegmentRef, Timeline
from tests.unit.manifest.samples import AUDIO, CREATED_MS, FULL, SMALL, period, track, usual


def test_segments_are_contiguous():
    pictures = track(FULL, [60])
    for wrong in (SegmentRef(60061, 60060, 1), SegmentRef(60060, 0, 1)):
        with pytest.raises(MediaError, match="720p: a segment"):
            pictures.append(wrong)


def test_without_a_window_everything_stays():
    timeline = usual(ended=False)
    assert timeline.trim() == []
    assert len(timeline.periods[0].tracks["720p"].segments) == 3


def test_a_window_takes_away_what_lies_wholly_before_it():
    timeline = Timeline(CREATED_MS, 2000, [period("a", 0, track(FULL, [60] * 5), track(AUDIO, [94] * 5))])
    timeline.dvr_window_ms = 5_000
    gone = timeline.trim()
    assert [(name, segment.time) for _, name, segment in gone] == [
        ("720p", 0), ("720p", 60060), ("audio", 0), ("audio", 96256),
    ]  # fmt: skip
    assert {name: (t.removed, t.segments[0].time) for name, t in timeline.periods[0].tracks.items()} == {
        "720p": (2, 120120),
        "audio": (2, 192512),
    }
    assert timeline.trim() == []


def test_a_period_goes_as_a_whole_and_is_counted():
    old = period("a", 0, track(FULL, [60, 60]), track(SMALL, [60, 60]))
    timeline = Timeline(CREATED_MS, 2000, [old, period("b", 5, track(SMALL, [60] * 3), track(AUDIO, [94] * 3))])
    timeline.dvr_window_ms = 6_006
    assert len(timeline.trim()) == 4
    assert [p.name for p in timeline.periods] == ["b"]
    assert (timeline.gone_periods, timeline.gone_segments) == (1, {"video": 2, "audio": 2})
    assert set(timeline.gone_renditions) == {"720p", "360p"}


def test_the_last_segment_is_never_taken_away():
    timeline = usual(ended=False)
    timeline.dvr_window_ms = 0
    timeline.trim()
    assert [len(t.segments) for t in timeline.periods[0].tracks.values()] == [1, 1, 1]
