"""Edit lists of every kind in files of every kind: what is shown is what they define, and what FFmpeg shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from streamwave.receive import freeze
from streamwave.timing import Grid
from tests.matrix.edits import Edit, edited
from tests.matrix.source import AAC, Recipe
from tests.support.player import decode_sound
from tests.support.segmented import Spool, contiguous, luma_number, segment

F = Fraction
RATE = F(25)
SMALL = Recipe(frames=100, size=(160, 90), sound=None)
X264 = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "30")
X265 = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:bframes=3:open-gop=0")
FILES = {
    "B-frames": SMALL,
    "no B-frames": replace(SMALL, codec=(*X264, "-bf", "0")),
    "signed offsets": replace(SMALL, options=("-movflags", "negative_cts_offsets")),
    "open GOPs": replace(SMALL, codec=(*X264, "-bf", "3", "-x264-params", "open-gop=1")),
    "pyramid": replace(SMALL, codec=(*X264, "-bf", "7", "-b_strategy", "0", "-x264-params", "b-pyramid=normal")),
    "one GOP": replace(SMALL, gop=200),
    "QuickTime": replace(SMALL, suffix="mov", first="mov"),
    "MJPEG": replace(SMALL, suffix="mov", first="mov", codec=("-c:v", "mjpeg", "-q:v", "3")),
    "HEVC": replace(SMALL, codec=(*X265, "-tag:v", "hvc1")),
    "HEVC, open GOPs": replace(
        SMALL, codec=(*X265[:-1], X265[-1].replace("open-gop=0", "open-gop=1"), "-tag:v", "hvc1")
    ),
}


def part(first: int, after: int) -> Edit:
    """The pictures ``[first, after)``."""
    return (after - first) / RATE, first / RATE


EDITS: dict[str, Sequence[Edit]] = {
    "all": [part(0, 100)],
    **{f"ends after {count}": [part(0, count)] for count in (49, 50, 51, 52)},
    "begins in mid-GOP": [part(33, 83)],
    "begins at a keyframe": [part(50, 80)],
    "begins behind a keyframe": [part(51, 80)],
    "begins before a keyframe": [part(49, 80)],
    "one picture": [part(40, 41)],
    "begins late": [(F(2, 5), None), part(0, 50)],
    "begins late and in mid-GOP": [(F(2, 5), None), part(33, 83)],
    "two parts": [part(0, 30), part(64, 94)],
    "two parts, the second from a keyframe": [part(0, 30), part(50, 80)],
    "the later part first": [part(60, 90), part(10, 35)],
    "thrice the same": [part(5, 25)] * 3,
    "a gap": [part(0, 30), (F(1), None), part(64, 94)],
    "a gap, and on from a keyframe": [part(0, 30), (F(1), None), part(50, 80)],
    "a gap, and the same again": [part(10, 40), (F(1), None), part(10, 40)],
    "longer than the media": [(F(9), F(2))],
    "longer than the media, twice": [(F(9), F(2)), part(10, 40)],
    "nothing at the end": [part(10, 40), (F(1), None)],
    "short parts": [part(n, n + 3) for n in (80, 5, 48, 64, 16, 32)],
}


def due(edits: Sequence[Edit], frames: int = 100) -> list[int]:
    """The numbers of the pictures at each place of the grid, from the first one that is shown."""
    found: list[int] = []
    for length, at in edits:
        if at is not None:
            shown = range(round(at * RATE), min(frames, round((at + length) * RATE)))
            found += [*shown, *[shown[-1]] * (round(length * RATE) - len(shown))]
        elif found:
            found += [found[-1]] * round(length * RATE)
    while len(found) > 1 and found[-1] == found[-2]:
        del found[-1]
    return found


def on_grid(spool: Spool) -> list[int]:
    """The same of a spool, each chunk decoded alone."""
    assert spool.opened is not None and spool.opened.rate is not None
    grid, found = Grid(spool.opened.rate), list[int]()
    for chunk in spool.chunks:
        shown = [
            (grid.frame_at_ms(max(0, at_ms - chunk.later_ms)), number)
            for at_ms, number in decoded(spool.folder / str(chunk.video_file), Fraction(1, 1000))
        ]
        first = grid.frame_at_ms(chunk.start_ms)
        for place in range(first, grid.frame_at_ms(chunk.next_ms)):
            found.append([number for at, number in shown if at <= (place if chunk.held is None else first)][-1])
    return found


def decoded(path: Path, unit: Fraction) -> list[tuple[int, int]]:
    """For each picture that FFmpeg shows of a file: its time in ``unit``, and its number."""
    with av.open(str(path)) as container:
        return [
            (round(Fraction((frame.pts or 0) * (frame.time_base or 1)) / unit), luma_number(frame))
            for frame in container.decode(video=0)
        ]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file of each kind, without edits, by name; made on first use."""
    folder = tmp_path_factory.mktemp("files")

    class Made(dict[str, Path]):
        def __missing__(self, kind: str) -> Path:
            self[kind] = FILES[kind].make(folder / kind)
            return self[kind]

    return Made()


#: Two kinds of files with all edit lists, the others with those that are hard for them.
HARD = [name for name in EDITS if "parts" in name or "gap" in name or "twice" in name or "keyframe" in name]
PAIRS = [(kind, name) for kind in FILES for name in (EDITS if kind in ("B-frames", "open GOPs") else HARD)]


@pytest.mark.parametrize(("kind", "name"), PAIRS)
def test_what_an_edit_list_shows(kind: str, name: str, files: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / f"a.{FILES[kind].suffix}"
    edited(EDITS[name], wide="late" in name)(files[kind], path)
    spool = segment(path, tmp_path / "spool")
    contiguous(spool)
    assert on_grid(spool) == due(EDITS[name])
    if len(EDITS[name]) == 1:  # FFmpeg is a few pictures off with later ones
        assert [number for _, number in decoded(path, F(1))] == due(EDITS[name])


@pytest.mark.parametrize("live", [False, True])
def test_sound_goes_on_after_a_trim(live: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hidden pictures after the end are not shown, not even where the last shown one is held."""
    monkeypatch.setattr(freeze, "PICTURES_UNSEEN_S", 0.0)
    recipe = replace(SMALL, sound=AAC, sound_until=F(8))
    edited(EDITS["ends after 49"], [(F(8), F(0))])(recipe.make(tmp_path / "whole"), tmp_path / "a.mp4")
    spool = segment(tmp_path / "a.mp4", tmp_path / "spool", live=live)
    contiguous(spool)
    assert on_grid(spool) == [*range(49), *[48] * 151]


def test_sound_rests_in_a_gap(tmp_path: Path) -> None:
    """libavformat would play the beginning of the track there."""
    recipe = replace(SMALL, sound=AAC)
    parts = EDITS["a gap"]
    edited(parts, parts)(recipe.make(tmp_path / "whole"), tmp_path / "a.mp4")
    spool = segment(tmp_path / "a.mp4", tmp_path / "spool")
    contiguous(spool)
    assert on_grid(spool) == due(parts)
    sound = decode_sound(b"".join((spool.folder / str(chunk.audio_file)).read_bytes() for chunk in spool.chunks))
    quiet = np.abs(sound.samples[round(1.3 * 48000) : round(2.1 * 48000)])
    assert quiet.max() < 1e-3 < np.abs(sound.samples[:48000]).max()


def test_fragments_of_which_all_is_shown(tmp_path: Path) -> None:
    """A length of 0 stands for all fragments that follow."""
    recipe = replace(SMALL, options=("-movflags", "frag_keyframe+empty_moov+default_base_moof+delay_moov"))
    for wide in (False, True):
        path = tmp_path / f"{wide}.mp4"
        edited([(F(0), F(0))], wide=wide)(recipe.make(tmp_path / "whole"), path)
        spool = segment(path, tmp_path / f"spool-{wide}")
        assert on_grid(spool) == list(range(100))
