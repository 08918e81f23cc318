"""A ledger's lines extend the timeline, and say which objects a DVR window leaves behind."""

from __future__ import annotations

from fractions import Fraction

import pytest

from streamwave.errors import MediaError
from streamwave.manifest import replay
from streamwave.manifest.lines import BroadcastLine, ChunkLine, PeriodLine, TrackLine
from tests.unit.manifest.samples import SMALL

HEADER = BroadcastLine(created_unix_ms=0, segment_ms=2000, fingerprint="f", info={"title": "x"})


def period(name: str, start_s: int) -> PeriodLine:
    track = TrackLine(
        rendition=SMALL, timescale=1000, codecs="avc1.4d401e", init_sha256="", init_size=1, frame_rate=Fraction(25)
    )
    return PeriodLine(
        name=name, session=name, first_chunk=0, start=Fraction(start_s), wall_unix_ms=None, tracks=(track,)
    )


def chunk(number: int, *lengths_ms: int, captions: bool = False) -> ChunkLine:
    times = [number * 2000 + sum(lengths_ms[:before]) for before in range(len(lengths_ms))]
    segments = tuple((at, length, 9) for at, length in zip(times, lengths_ms, strict=True))
    return ChunkLine(number=number, segments={"360p": segments}, captions=captions)


def test_a_window_leaves_segments_behind_and_with_a_period_its_init_segment() -> None:
    timeline = replay.begin(HEADER, 3000)
    replay.open_period(timeline, period("p0", 0))
    assert [replay.add_chunk(timeline, chunk(number, 2000)) for number in range(3)] == [[], [], ["p0/360p/0.m4s"]]
    replay.open_period(timeline, period("p1", 10))
    assert replay.add_chunk(timeline, chunk(0, 2000)) == ["p0/360p/2000.m4s", "p0/360p/4000.m4s"] + 2 * [
        "p0/360p/init.mp4"
    ]
    assert [one.name for one in timeline.periods] == ["p1"]


def test_a_period_knows_its_longest_chunk_and_whether_it_began_with_captions() -> None:
    timeline = replay.begin(HEADER, None)
    replay.open_period(timeline, period("p0", 0))
    replay.add_chunk(timeline, chunk(0, 1000, 1000))
    replay.add_chunk(timeline, chunk(1, 1500, captions=True))
    (one,) = timeline.periods
    assert one.longest_chunk == 2 and one.captions and not one.captions_at_start
    assert timeline.info == {"title": "x"} and timeline.info is not HEADER.info


def test_a_recording_has_no_pauses() -> None:
    timeline = replay.begin(HEADER, None)
    for name, start_s in (("p0", 0), ("p1", 70)):
        replay.open_period(timeline, period(name, start_s))
        replay.add_chunk(timeline, chunk(0, 2000))
    replay.close_pauses(timeline)
    assert [one.start for one in timeline.periods] == [0, 2]


@pytest.mark.parametrize(
    ("lines", "error"),
    [([], LookupError), ([period("p0", 0), chunk(0, 1000), chunk(1, 1000)], MediaError)],
    ids=["without a period", "with a hole"],
)
def test_lines_that_contradict_each_other(lines: list[PeriodLine | ChunkLine], error: type[Exception]) -> None:
    timeline = replay.begin(HEADER, None)
    with pytest.raises(error):
        for line in [*lines, chunk(2, 2000)]:
            replay.open_period(timeline, line) if isinstance(line, PeriodLine) else replay.add_chunk(timeline, line)
