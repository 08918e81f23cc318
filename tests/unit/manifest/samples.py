"""Timelines for the tests: made by hand and by chance."""

from __future__ import annotations

import random
from fractions import Fraction

from streamwave.manifest.timeline import Period, SegmentRef, Timeline, Track
from streamwave.model import Rendition
from streamwave.timing import AAC_FRAME, Grid

#: 2026-01-02T03:04:05.678Z
CREATED_MS = 1_767_323_045_678
NTSC = Fraction(30000, 1001)


def video(name: str, height: int, max_bps: int) -> Rendition:
    return Rendition(name=name, kind="video", width=height * 16 // 9, height=height, max_bps=max_bps)


FULL, SMALL = video("720p", 720, 2_800_000), video("360p", 360, 800_000)
AUDIO = Rendition(name="audio", kind="audio", max_bps=128_000)


def track(rendition: Rendition, lengths: list[int], size: int = 1000, rate: Fraction = NTSC, first: int = 0) -> Track:
    """A track whose segments have ``lengths`` in frames (pictures, or AAC frames of 1024 samples)."""
    grid = Grid(rate)
    is_video = rendition.kind == "video"
    result = Track(
        rendition,
        grid.timescale if is_video else rendition.sample_rate,
        {"720p": "avc1.64001f", "360p": "avc1.4d401e"}.get(rendition.name, "avc1.42c01e") if is_video else "mp4a.40.2",
        init_size=800,
        frame_rate=rate if is_video else None,
    )
    per_frame, time = (grid.frame_ticks if is_video else AAC_FRAME), first
    for length in lengths:
        result.append(SegmentRef(time, length * per_frame, size))
        time += length * per_frame
    return result


def period(name: str, start: Fraction | int, *tracks: Track, wall_unix_ms: int | None = None) -> Period:
    return Period(name, Fraction(start), {t.rendition.name: t for t in tracks}, wall_unix_ms)


def usual(*, ended: bool, wall: bool = True) -> Timeline:
    """5.005 s of 29.97 pictures a second in two renditions with audio, one period."""
    pictures = [track(FULL, [60, 60, 30], 500_000), track(SMALL, [60, 60, 30], 100_000)]
    sound = track(AUDIO, [94, 94, 47], 32_000)
    one = period("p0", 0, *pictures, sound, wall_unix_ms=CREATED_MS if wall else None)
    return Timeline(CREATED_MS, 2000, [one], ended=ended)


def random_timeline(seed: int) -> Timeline:
    """One to four periods of random rates, chunk lengths, sizes, audio lengths and pauses."""
    chance = random.Random(seed)
    timeline = Timeline(CREATED_MS, 2000, [], ended=chance.random() < 0.5)
    start = Fraction(0)
    for number in range(chance.randint(1, 4)):
        rate = chance.choice([NTSC, Fraction(25), Fraction(24000, 1001), Fraction(12), Fraction(19321, 997)])
        lengths = [chance.choice([48, 50, 50, 60, 61, 1, 90]) for _ in range(chance.randint(1, 12))]
        aac = [chance.choice([93, 94, 94, 94, 1]) for _ in range(len(lengths))]
        tracks = [track(r, lengths, chance.randint(1, 10**6), rate) for r in (FULL, SMALL)]
        tracks.append(track(AUDIO, aac, first=chance.choice([0, 0, 5 * AAC_FRAME])))
        wall = CREATED_MS + int(start * 1000) if chance.random() < 0.7 else None
        timeline.periods.append(period(f"p{number}", start, *tracks, wall_unix_ms=wall))
        start = timeline.duration + chance.choice([Fraction(0), Fraction(0), Fraction(31, 7)])
    return timeline
