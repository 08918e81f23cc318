"""Which renditions a source gets: never enlarged, its aspect ratio kept, whatever the ladder's form."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest

from streamwave.errors import LadderError
from streamwave.model import AudioInfo, SourceInfo, VideoInfo
from streamwave.pipeline.ladder import DEFAULT_LADDER, choose, display_size, load_ladder, plan


def source(width: int, height: int, *, sar: str = "1", rotation: int = 0, audio: bool = True) -> SourceInfo:
    return SourceInfo(
        url="file:/a.mp4",
        container="mov",
        video=VideoInfo(codec="h264", width=width, height=height, sample_aspect=Fraction(sar), rotation=rotation),
        audio=AudioInfo(codec="aac", sample_rate=44100, channels=6) if audio else None,
    )


def sizes(info: SourceInfo, ladder: str | None = None) -> dict[str, tuple[int, int]]:
    return {r.name: (r.width, r.height) for r in plan(info, load_ladder(ladder)) if r.kind == "video"}


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        (source(1920, 1080), {"1080p": (1920, 1080), "720p": (1280, 720), "480p": (854, 480), "360p": (640, 360)}),
        (source(1280, 720), {"720p": (1280, 720), "480p": (854, 480), "360p": (640, 360)}),
        (source(3840, 2160), {"1080p": (1920, 1080), "720p": (1280, 720), "480p": (854, 480), "360p": (640, 360)}),
        # Portrait: the box is turned.
        (source(1080, 1920), {"1080p": (1080, 1920), "720p": (720, 1280), "480p": (480, 854), "360p": (360, 640)}),
        (
            source(1920, 1080, rotation=90),
            {"1080p": (1080, 1920), "720p": (720, 1280), "480p": (480, 854), "360p": (360, 640)},
        ),
        (
            source(1920, 1080, rotation=180),
            {"1080p": (1920, 1080), "720p": (1280, 720), "480p": (854, 480), "360p": (640, 360)},
        ),
        # Square: by the shorter side.
        (source(720, 720), {"720p": (720, 720), "480p": (480, 480), "360p": (360, 360)}),
        # Cinema: by the width, so that no rendition is wider than its rung's 16:9.
        (source(1920, 800), {"1080p": (1920, 800), "720p": (1280, 534), "480p": (854, 356), "360p": (640, 266)}),
        # PAL with 16:9 pixels becomes 1024 wide.
        (source(720, 576, sar="64/45"), {"480p": (854, 480), "360p": (640, 360)}),
        # Odd sizes become even, by less than a pixel.
        (source(853, 479), {"360p": (640, 360)}),
        (source(1366, 768), {"720p": (1280, 720), "480p": (854, 480), "360p": (640, 360)}),
    ],
)
def test_default_ladder(info: SourceInfo, expected: dict[str, tuple[int, int]]) -> None:
    assert sizes(info) == expected


@pytest.mark.parametrize("width", range(64, 2600, 97))
@pytest.mark.parametrize("height", [64, 121, 360, 477, 719, 1081, 1440])
def test_never_enlarged_always_even_and_the_shape_is_kept(width: int, height: int) -> None:
    for name, (w, h) in sizes(source(width, height)).items():
        assert w % 2 == h % 2 == 0, name
        assert w <= width + 1 and h <= height + 1, name  # one, where an odd number was made even
        scale = min(Fraction(w, width), Fraction(h, height))
        assert abs(w - scale * width) <= 2 * max(Fraction(1), Fraction(width, height)), name
        assert abs(h - scale * height) <= 2 * max(Fraction(1), Fraction(height, width)), name


def test_a_source_below_the_ladder_is_carried_as_it_is() -> None:
    (video, audio) = plan(source(320, 180), DEFAULT_LADDER)
    assert (video.name, video.width, video.height) == ("180p", 320, 180)
    assert 100_000 <= video.max_bps < 800_000
    assert audio.name == "audio"


def test_only_what_the_source_has() -> None:
    assert [r.kind for r in plan(source(640, 360, audio=False), DEFAULT_LADDER)] == ["video"]
    assert [r.kind for r in plan(source(640, 360, audio=False), DEFAULT_LADDER, sound=True)] == ["video", "audio"]
    sound = SourceInfo(url="file:/a.mp3", container="mp3", audio=AudioInfo(codec="mp3", sample_rate=44100, channels=1))
    (audio,) = plan(sound, DEFAULT_LADDER)
    assert (audio.name, audio.kind, audio.max_bps, audio.sample_rate, audio.channels) == (
        "audio",
        "audio",
        128_000,
        48000,
        2,
    )


def test_display_size_with_aspect_and_rotation() -> None:
    video = VideoInfo(codec="h264", width=720, height=576, sample_aspect=Fraction(64, 45), rotation=270)
    assert display_size(video) == (576, 1024)


OWN = {
    "rungs": [{"name": "big", "short_side": 540, "max_kbps": 1500}, {"name": "tiny", "short_side": 90, "max_kbps": 90}]
}


def test_a_ladder_of_ones_own(tmp_path: Path) -> None:
    expected = {"big": (960, 540), "tiny": (160, 90)}
    (tmp_path / "own.json").write_text(json.dumps({**OWN, "audio_kbps": 64}))
    (tmp_path / "own.toml").write_text(
        'audio_kbps = 64\n[[rungs]]\nname = "big"\nshort_side = 540\nmax_kbps = 1500\n'
        '[[rungs]]\nname = "tiny"\nshort_side = 90\nmax_kbps = 90\n'
    )
    assert sizes(source(1920, 1080), json.dumps(OWN)) == expected
    for name in ("own.json", "own.toml"):
        ladder = load_ladder(str(tmp_path / name))
        assert ladder.audio_kbps == 64
        assert {r.name: (r.width, r.height) for r in plan(source(1920, 1080), ladder)} == {**expected, "audio": (0, 0)}
    # Too large for the source: only what fits.
    assert sizes(source(320, 240), json.dumps(OWN)) == {"tiny": (120, 90)}


def test_narrowing() -> None:
    assert list(sizes(source(1920, 1080), "360p, 720p")) == ["720p", "360p"]
    assert [rung.name for rung in choose(json.dumps(OWN), "tiny").rungs] == ["tiny"]
    assert [rung.name for rung in choose("720p,360p", None).rungs] == ["720p", "360p"]
    assert [rung.name for rung in choose("720p", json.dumps(OWN)).rungs] == ["big", "tiny"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("8k", "no rendition '8k'; choose from 1080p, 720p, 480p, 360p"),
        ("720p,8k,9k", "no rendition '8k', '9k'"),
        (",", "names no rendition; choose from 1080p"),
        ("{", "the inline ladder is not JSON"),
        ("{}", "the inline ladder: rungs: Field required; a ladder looks like"),
        ('{"rungs": []}', "rungs: .*at least 1 item"),
        ('{"rungs": [{"name": "A B", "short_side": 90, "max_kbps": 90}]}', "rungs.0.name: .*pattern"),
        ('{"rungs": [{"name": "a", "short_side": 90, "max_kbps": 1}]}', "rungs.0.max_kbps: .*greater"),
        ('{"rungs": [{"name": "a", "short_side": 90, "max_kbps": 90, "fps": 3}]}', "rungs.0.fps"),
        ('{"rungs": [{"name": "audio", "short_side": 90, "max_kbps": 90}]}', "none may be 'audio'"),
        (json.dumps({"rungs": [OWN["rungs"][0]] * 2}), "names of rungs must be unique"),
        ("/nowhere/ladder.toml", "cannot be read"),
    ],
)
def test_what_is_no_ladder(spec: str, message: str) -> None:
    with pytest.raises(LadderError, match=message):
        load_ladder(spec)


def test_broken_files(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("rungs = [")
    (tmp_path / "a.json").write_text("{")
    for name, kind in (("a.toml", "TOML"), ("a.json", "JSON")):
        with pytest.raises(LadderError, match=f"is not {kind}"):
            load_ladder(str(tmp_path / name))


def test_a_narrowed_ladder_above_the_source() -> None:
    with pytest.raises(
        LadderError, match="640x360 pixels, less than the smallest requested rung .720p.; add a smaller rung"
    ):
        plan(source(640, 360), load_ladder("1080p,720p"))
