"""All cells of the matrix."""

from __future__ import annotations

from tests.matrix import cells_change, cells_picture, cells_sound, cells_time

CELLS = [*cells_time.CELLS, *cells_picture.CELLS, *cells_sound.CELLS, *cells_change.CELLS]

#: Cells that are also run through the command line, and so through the flow.
COMMAND = [
    cell for cell in CELLS if cell.name in ("phone, 30 fps on average", "no sound at all", "other shape", "AAC in M4A")
]
