"""Cells: edit lists, as phones, cameras and editors write them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from tests.matrix.cell import SMALL_SIZES, Cell, Part
from tests.matrix.cells_picture import turn
from tests.matrix.edits import USUAL_RATE, Edit, edited
from tests.matrix.measure import Outcome
from tests.matrix.source import Recipe
from tests.support.media import ffmpeg_path, picture_number

F = Fraction
RATE = F(25)


def part(first: int, after: int) -> Edit:
    """The edit that shows the frames ``[first, after)``."""
    return (after - first) / RATE, first / RATE


def edit(name: str, pictures: Sequence[Edit], shown: Sequence[Sequence[int]], **more: Any) -> Cell:
    """A cell whose edit list shows the frames ``shown``, with equal edits of the audio unless ``sound`` is given."""
    rework = edited(pictures, more.pop("sound", pictures), more.pop("media_rate", USUAL_RATE))
    quarters = more.pop("quarters", 0)
    recipe = Recipe(frames=100, rework=turned(quarters, rework), turned=quarters, **more.pop("recipe", {}))
    if quarters % 2:
        recipe = replace(recipe, size=recipe.size[::-1])
        more["sizes"] = {rung: size[::-1] for rung, size in SMALL_SIZES.items()}
    numbers = tuple(n for numbers in shown for n in numbers)
    beeps = more.pop("beeps", tuple(n for n in numbers if n in recipe.beeps and n + 1 in numbers))
    more.setdefault("looks", (as_ffmpeg_shows,))
    return Cell(name, "edits", recipe, rate=RATE, parts=(Part(numbers),), beeps=beeps, **more)


def turned(quarters: int, rework: Callable[[Path, Path], None]) -> Callable[[Path, Path], None]:
    """``rework`` for a file whose video has to be rotated by the player."""

    def both(source: Path, target: Path) -> None:
        between = target.with_name("turned.mp4")
        turn(quarters)(source, between)
        rework(between, target)

    return both if quarters else rework


def as_ffmpeg_shows(outcome: Outcome) -> list[str]:
    """Check that the frames and their order are those of ``ffmpeg -i``, which also rotates them and applies the edit list.

    Timestamps are not compared: in later edits, those of FFmpeg are up to a few frames late.
    """
    width, height = outcome.cell.recipe.size
    command = [ffmpeg_path(), "-v", "error", "-nostdin", "-i", str(outcome.root.with_name("source.mp4")), "-map", "0:v"]
    command += ["-fps_mode", "passthrough", "-pix_fmt", "gray", "-f", "rawvideo", "-"]
    done = subprocess.run(command, check=True, capture_output=True, timeout=60)
    luma = np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width)
    due = [number for number, _ in groupby(picture_number(one) for one in luma)]
    found = [number for number, _ in groupby(shown.number for shown in outcome.periods[0].pictures["large"])]
    return [] if found == due else [f"FFmpeg shows {len(due)} pictures ({due[:6]} …), not {len(found)} ({found[:6]} …)"]


# Edits of audio after the first that begin exactly at an AAC frame, because libavformat starts them at the next AAC frame.
PARTS = [part(n, n + 12) for n in (80, 5, 48, 64, 16, 32)]
CELLS = [
    *(edit(f"ends after {count} pictures", [part(0, count)], [range(count)]) for count in (50, 51, 52, 49)),
    edit("begins in mid-GOP", [part(33, 83)], [range(33, 83)], short=True),
    edit("begins at a keyframe", [part(50, 80)], [range(50, 80)]),
    # As in libavformat, the first frame that begins within an edit is presented at the start of the edit.
    edit("begins and ends between pictures", [(F(2), F(133, 100))], [range(34, 84)], sound=[part(34, 84)]),
    edit("begins late", [(F(2, 5), None), part(0, 50)], [range(50)]),
    edit("begins late and in mid-GOP", [(F(1, 2), None), part(33, 83)], [range(33, 83)]),
    edit("two parts", [part(0, 30), part(64, 94)], [range(30), range(64, 94)], short=True),
    edit("two parts, the second from a keyframe", [part(0, 30), part(50, 80)], [range(30), range(50, 80)]),
    edit("the later part first", [part(60, 90), part(10, 35)], [range(60, 90), range(10, 35)]),
    edit("the same part three times", [part(5, 25)] * 3, [range(5, 25)] * 3),
    edit("six parts", PARTS, [range(n, n + 12) for n in (80, 5, 48, 64, 16, 32)]),
    edit("the sound ends with its own edit", [part(0, 60)], [range(60)], sound=[(F(3, 2), F(0))], beeps=(3, 28)),
    edit("all of it in one GOP", [part(33, 83)], [range(33, 83)], recipe={"gop": 200}),
    edit("parts of one GOP", [part(70, 90), part(32, 52)], [range(70, 90), range(32, 52)], recipe={"gop": 200}),
]

#: For an empty edit, FFmpeg shows the beginning of the media.
GAP = "a gap in the middle"
SHORT_OF_MEDIA = "longer than its media, and another"
#: Each kind of edit list by name: the edits, the frames that are shown, and their media rate.
KINDS: dict[str, tuple[list[Edit], list[Sequence[int]], int]] = {
    "begins and ends in mid-GOP": ([part(33, 83)], [range(33, 83)], USUAL_RATE),
    "begins late": ([(F(2, 5), None), part(0, 50)], [range(50)], USUAL_RATE),
    "two parts": ([part(0, 30), part(64, 94)], [range(30), range(64, 94)], USUAL_RATE),
    # FFmpeg treats it as an ordinary edit.
    "media rate 0": ([part(33, 83)], [range(33, 83)], 0),
    "longer than its media": ([(F(7), F(33, 25))], [range(33, 100)], USUAL_RATE),
    SHORT_OF_MEDIA: (
        [(F(3), F(2)), part(16, 40)],
        [range(50, 100), [99] * 25, range(16, 40)],
        USUAL_RATE,
    ),
    GAP: ([part(0, 32), (F(1), None), part(48, 80)], [range(32), [31] * 25, range(48, 80)], USUAL_RATE),
}
CELLS += [
    edit(
        f"{name}, turned by {90 * quarters} degrees",
        edits,
        shown,
        media_rate=rate,
        quarters=quarters,
        **({"looks": ()} if name == GAP else {}),
        short=quarters == 1 and name in (GAP, SHORT_OF_MEDIA),
    )
    for name, (edits, shown, rate) in KINDS.items()
    for quarters in range(4)
]
