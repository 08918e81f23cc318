"""All cells of the matrix."""

from __future__ import annotations

from tests.matrix import cells_change, cells_picture, cells_sound, cells_time

CELLS = [*cells_time.CELLS, *cells_picture.CELLS, *cells_sound.CELLS, *cells_change.CELLS]
