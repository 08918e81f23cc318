"""All cells of the matrix."""

from __future__ import annotations

from tests.matrix import (
    cells_change,
    cells_edits,
    cells_packing,
    cells_passthrough,
    cells_picture,
    cells_sound,
    cells_time,
)

CELLS = [
    *cells_time.CELLS,
    *cells_picture.CELLS,
    *cells_sound.CELLS,
    *cells_change.CELLS,
    *cells_edits.CELLS,
    *cells_packing.CELLS,
    *cells_passthrough.CELLS,
]

#: Cells that are also run through the command line, and so through the Prefect flow.
_BY_COMMAND = (
    "phone, 30 fps on average",
    "no sound at all",
    "two tracks, the second",
    "other shape",
    "AAC in M4A",
)
COMMAND = [cell for cell in CELLS if cell.name in _BY_COMMAND]
