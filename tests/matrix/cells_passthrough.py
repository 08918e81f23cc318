"""The cells of H.264 once more, with a ladder whose largest rung the source's own pictures can be."""

from __future__ import annotations

from dataclasses import replace

from tests.matrix import cells_change, cells_picture, cells_sound, cells_time
from tests.matrix.cell import SMALL_LADDER, SMALL_SIZES, Cell, Part

#: As large as the source, and at any bit rate.
_LADDER = (
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
    """``cell`` with the source's own pictures as its largest rendition, where they can be that."""
    return replace(
        cell,
        name=f"passed: {cell.name}",
        group="passed",
        ladder=_LADDER,
        sizes={**SMALL_SIZES, "large": _LARGE},
        parts=tuple(_part(part) for part in cell.parts) if cell.parts else None,
        passthrough=True,
        short=cell.name in _SHORT,
    )


_SHORT = ("29.97 fps",)
CELLS = [
    passed(cell)
    for cell in (*cells_time.CELLS, *cells_picture.CELLS, *cells_sound.CELLS, *cells_change.CELLS)
    if _can_pass(cell)
]
