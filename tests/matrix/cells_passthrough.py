"""The H.264 cells again, with a ladder whose largest rung allows passthrough."""

from __future__ import annotations

from dataclasses import replace

from tests.matrix import cells_change, cells_edits, cells_packing, cells_picture, cells_sound, cells_time
from tests.matrix.cell import SMALL_LADDER, SMALL_SIZES, Cell, Part
from tests.matrix.cells_live import LIVE
from tests.matrix.live import LiveCell
from tests.matrix.measure import OF_BIT_RATE

#: A rung of the source's size that accepts any bit rate.
LADDER = (
    '{"rungs": [{"name": "large", "short_side": 144, "max_kbps": 50000},'
    ' {"name": "small", "short_side": 72, "max_kbps": 250}], "audio_kbps": 128}'
)
_LARGE = (256, 144)


def _can_pass(cell: Cell) -> bool:
    recipe = cell.recipe
    plain = cell.ladder == SMALL_LADDER and cell.sizes == SMALL_SIZES and recipe.size == _LARGE
    return plain and recipe.codec is not None and "libx264" in recipe.codec


def _part(part: Part) -> Part:
    if part.sizes is None or "large" not in part.sizes:
        return part
    width, height = part.sizes["large"]
    return replace(part, sizes={**part.sizes, "large": (width * 4 // 3, height * 4 // 3)})


def passed(cell: Cell) -> Cell:
    """``cell`` with passthrough as its largest rendition, if the source qualifies."""
    return replace(
        cell,
        name=f"passed: {cell.name}",
        group="passed",
        ladder=LADDER,
        sizes={**SMALL_SIZES, "large": _LARGE},
        parts=tuple(_part(part) for part in cell.parts) if cell.parts else None,
        passthrough=True,
        own=_SHORT.get(cell.name),
        advice=cell.advice - OF_BIT_RATE,
        short=cell.name in _SHORT,
    )


#: The cells that ``make test`` runs, and how many of their segments are passed through.
_SHORT = {
    "29.97 fps": "all",
    "B-frames with pyramid": "all",
    "irregular": "some",
    "gap of 0.2 s": "some",
    "every 4 s": "none",
    "from 25 to 50 pictures a second": "all",
}
CELLS = [
    passed(cell)
    for group in (cells_time, cells_picture, cells_sound, cells_change, cells_edits, cells_packing)
    for cell in group.CELLS
    if _can_pass(cell)
]

#: The same for live cells, in an installation with that ladder and setting.
_LIVE = {
    "live: 29.97 fps": "all",
    "live: gap of 0.2 s": "some",
    "live: keyframes every 2 s": "none",
    "live: keyframes every 8.3 s": "none",
    "live: B-frames, and far more bits than are needed": "none",
    "live: comes back with another shape, rate and sound": "all",
    "live: another shape in one connection": "all",
    "live: jumps back to zero in the middle of a GOP": None,
}
_SHORT_LIVE = frozenset({"live: gap of 0.2 s", "live: comes back with another shape, rate and sound"})
PASSED_LIVE = [
    LiveCell(replace(passed(one.cell), own=_LIVE[one.cell.name]), one.again, one.cell.name in _SHORT_LIVE)
    for one in LIVE
    if one.cell.name in _LIVE
]
