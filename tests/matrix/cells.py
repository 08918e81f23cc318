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

#: Cells of what is in a source, and of how it is stored there.
MEDIA = [*cells_time.CELLS, *cells_picture.CELLS, *cells_sound.CELLS]
FILES = [*cells_change.CELLS, *cells_edits.CELLS, *cells_packing.CELLS, *cells_passthrough.CELLS]
CELLS = [*MEDIA, *FILES]

#: Cells that are also run through the command line, and so through the Prefect flow.
_BY_COMMAND = (
    "phone, 30 fps on average",
    "no sound at all",
    "two tracks, the second",
    "other shape",
    "AAC in M4A",
)
COMMAND = [cell for cell in CELLS if cell.name in _BY_COMMAND]
