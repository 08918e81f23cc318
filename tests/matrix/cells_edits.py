"""Cells: edit lists, as phones, cameras and editors write them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from tests.matrix.cell import Cell, Part
from tests.matrix.cells_picture import turn
from tests.matrix.edits import Edit, edited
from tests.matrix.source import Recipe

F = Fraction
RATE = F(25)


def part(first: int, after: int) -> Edit:
    """The pictures ``[first, after)``."""
    return (after - first) / RATE, first / RATE


def edit(name: str, pictures: Sequence[Edit], shown: Sequence[range], **more: Any) -> Cell:
    """A cell whose edit list shows the pictures ``shown``, with the sound edited likewise unless ``sound`` says how."""
    rework = edited(pictures, more.pop("sound", pictures))
    recipe = Recipe(frames=100, **{"rework": rework, **more.pop("recipe", {})})
    numbers = tuple(n for numbers in shown for n in numbers)
    beeps = more.pop("beeps", tuple(n for n in numbers if n in recipe.beeps and n + 1 in numbers))
    return Cell(name, "edits", recipe, rate=RATE, parts=(Part(numbers),), beeps=beeps, **more)


def turned_and_edited(source: Path, target: Path) -> None:
    between = target.with_name("turned.mp4")
    turn(1)(source, between)
    edited([part(33, 83)], [part(33, 83)])(between, target)


# libavformat has a later part of the sound begin with the first AAC frame that begins within it: those that begin with one.
PARTS = [part(n, n + 12) for n in (80, 5, 48, 64, 16, 32)]
CELLS = [
    *(edit(f"ends after {count} pictures", [part(0, count)], [range(count)]) for count in (50, 51, 52, 49)),
    edit("begins in mid-GOP", [part(33, 83)], [range(33, 83)], short=True),
    edit("begins at a keyframe", [part(50, 80)], [range(50, 80)]),
    # The first picture that begins within an edit is shown when the edit begins, as libavformat has it.
    edit("begins and ends between pictures", [(F(2), F(133, 100))], [range(34, 84)], sound=[part(34, 84)]),
    edit("begins late", [(F(2, 5), None), part(0, 50)], [range(50)]),
    edit("begins late and in mid-GOP", [(F(1, 2), None), part(33, 83)], [range(33, 83)]),
    edit("two parts", [part(0, 30), part(64, 94)], [range(30), range(64, 94)], short=True),
    edit("two parts, the second from a keyframe", [part(0, 30), part(50, 80)], [range(30), range(50, 80)]),
    edit("the later part first", [part(60, 90), part(10, 35)], [range(60, 90), range(10, 35)]),
    edit("the same part three times", [part(5, 25)] * 3, [range(5, 25)] * 3),
    edit("six parts", PARTS, [range(n, n + 12) for n in (80, 5, 48, 64, 16, 32)]),
    edit("the sound ends with its own edit", [part(0, 60)], [range(60)], sound=[(F(3, 2), F(0))], beeps=(3, 28)),
    edit(
        "turned, begins and ends in mid-GOP",
        [part(33, 83)],
        [range(33, 83)],
        sizes={"large": (108, 192), "small": (72, 128)},
        recipe={"size": (144, 256), "turned": 1, "rework": turned_and_edited},
    ),
    edit("all of it in one GOP", [part(33, 83)], [range(33, 83)], recipe={"gop": 200}),
    edit("parts of one GOP", [part(70, 90), part(32, 52)], [range(70, 90), range(32, 52)], recipe={"gop": 200}),
]
