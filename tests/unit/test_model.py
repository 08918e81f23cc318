"""What crosses a boundary is frozen, travels as JSON, and knows where its segments lie."""

from __future__ import annotations

from fractions import Fraction

import pytest
from pydantic import ValidationError

from streamwave.model import Chunk, ChunkRecord, Rendition, SourceInfo, VideoInfo

NTSC = Fraction(30000, 1001)
VIDEO = Rendition(name="360p", kind="video", width=640, height=360, max_bps=800_000)
AUDIO = Rendition(name="audio", kind="audio", max_bps=128_000)


def chunk(**changes: object) -> Chunk:
    values = {
        "number": 3, "rate": NTSC, "first_frame": 180, "frame_count": 150, "segments": (75, 75),
        "video_path": "a.mkv", "audio_path": "a.aac", "audio_first": 282, "audio_count": 235,
    }  # fmt: skip
    return Chunk.model_validate({**values, **changes})


def test_exact_fractions_travel_as_text() -> None:
    text = chunk().model_dump_json()
    assert '"rate":"30000/1001"' in text
    assert Chunk.model_validate_json(text) == chunk()
    info = SourceInfo(url="u", container="mov", video=VideoInfo(codec="h264", width=4, height=2, stated_rate=NTSC))
    assert SourceInfo.model_validate_json(info.model_dump_json()) == info


def test_frozen_and_strict() -> None:
    with pytest.raises(ValidationError):
        chunk().number = 4  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs"):
        ChunkRecord.model_validate(
            {"number": 0, "video_file": None, "start_ms": 0, "next_ms": 1, "pictures": 0, "x": 1}
        )
    for name in ("", "A", "../up", "a" * 33, "a b"):
        with pytest.raises(ValidationError, match="pattern"):
            Rendition(name=name, kind="video", max_bps=1)


def test_boundaries_of_pictures() -> None:
    assert chunk().boundaries(VIDEO) == ((180 * 1001, 75 * 1001), (255 * 1001, 75 * 1001))


def test_boundaries_of_sound_lie_nearest_to_those_of_the_pictures() -> None:
    first, second = chunk().boundaries(AUDIO)
    assert first[0] == 282 * 1024 and first[0] + first[1] == second[0]
    assert second[0] + second[1] == (282 + 235) * 1024
    apart = Fraction(second[0], 48000) - 255 / NTSC
    assert abs(apart) <= Fraction(1024, 2 * 48000)


def test_sound_that_ends_early_or_is_missing() -> None:
    # Sound for the first segment only: the second has none rather than one without samples.
    assert len(chunk(audio_count=100).boundaries(AUDIO)) == 1
    assert chunk(audio_count=0).boundaries(AUDIO) == ()
    assert sum(duration for _, duration in chunk(audio_count=100).boundaries(AUDIO)) == 100 * 1024


def test_timescales() -> None:
    assert VIDEO.timescale(chunk().grid) == 30000
    assert AUDIO.timescale(None) == 48000
