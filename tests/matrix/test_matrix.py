"""Sources of every kind and their expected results: a selection of the matrix; ``make matrix`` runs all of it.

Cells that need no Prefect are in ``test_matrix_media.py`` and ``test_matrix_files.py``, so that workers share them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.matrix.cell import Cell, Part
from tests.matrix.cells import CELLS, COMMAND, FILES, MEDIA
from tests.matrix.edits import moving_edits
from tests.matrix.measure import Outcome
from tests.matrix.pipeline import transcode
from tests.matrix.run import run_cell


def test_cells_have_names_of_their_own() -> None:
    assert [name for name, count in Counter(cell.name for cell in CELLS).items() if count > 1] == []


def test_every_cell_is_in_one_of_the_files_of_tests() -> None:
    assert [*MEDIA, *FILES] == CELLS


@pytest.mark.parametrize("cell", [cell for cell in COMMAND if cell.short], ids=lambda cell: cell.name)
def test_cell_by_command(cell: Cell, tmp_path: Path, prefect_api: str) -> None:
    assert run_cell(cell, tmp_path, prefect_api) == []


def test_the_measures_notice_what_is_wrong(tmp_path: Path) -> None:
    right = next(cell for cell in CELLS if cell.name == "25 fps")
    source = right.recipe.make(tmp_path / "source")
    made = transcode(source, tmp_path, ladder=right.ladder, segment_s=right.segment_s)
    assert Outcome(right, made.root).faults() == []
    assert set(moving_edits(source.read_bytes())) == {"vide", "soun"}  # B-frames and AAC priming
    late = tuple(time + Fraction(1, 25) * (n > 60) for n, time in enumerate(right.shown_at))
    expected: list[tuple[str, dict[str, Any]]] = [
        ("pictures a second, not 30", {"rate": Fraction(30)}),
        ("large: 64 wrong pictures, the first at place 61: 61, not [60]", {"times": late}),
        ("125 pictures, not 126", {"times": late}),
        ("240640 samples of sound, 288000 were due", {"sound_end": Fraction(6)}),
        ("5 beeps, 4 were due", {"beeps": right.recipe.beeps[:-1]}),
        ("1 periods", {"parts": (Part(), Part())}),
        ("renditions {'large': (192, 108), 'small': (128, 72)}", {"sizes": {}}),
        ("0 chunks in black, not 1", {"filled": 1}),
    ]
    for words, changed in expected:
        assert words in "\n".join(Outcome(replace(right, **changed), made.root).faults()), words
    sound = Outcome(right, made.root).periods[0].sound
    assert sound is not None
    for shift, in_sync in ((479, True), (482, False), (-482, False)):
        outcome = Outcome(right, made.root)
        outcome.periods[0].__dict__["sound"] = replace(sound, samples=np.roll(sound.samples, shift))
        assert any("sound off by" in fault for fault in outcome.faults()) is not in_sync
    damaged = sorted((made.root / "p0" / "small").glob("*.m4s"))[2]
    damaged.write_bytes(damaged.read_bytes()[:-400] + bytes(400))
    assert Outcome(right, made.root).faults()
