"""Audio is stretched only where its timestamps run away steadily, and by little."""

from __future__ import annotations

import numpy as np
import pytest

from streamwave.receive.drift import MOST, MOST_WITH_JITTER, STEP_LEAST, STEPS, DriftCorrection
from streamwave.receive.samples import Samples

RATE = 48000
FRAME: Samples = np.zeros((2, 1024), np.float32)


def corrected(drift: DriftCorrection, *offs: int) -> list[int]:
    """By how many samples each frame is stretched."""
    return [drift.correct(FRAME, off, RATE).shape[1] - FRAME.shape[1] for off in offs]


@pytest.mark.parametrize("sign", [1, -1])
def test_frames_that_are_steadily_off_are_stretched_or_squeezed(sign: int) -> None:
    by = corrected(DriftCorrection(), *[sign * 200] * STEPS)
    assert by == [0] * (STEPS - 1) + [sign * (FRAME.shape[1] // MOST)]


def test_one_frame_that_is_off_is_jitter() -> None:
    assert set(corrected(DriftCorrection(), *[0] * STEPS, 4000, *[0] * STEPS)) == {0}


def test_with_jitter_less_is_corrected() -> None:
    assert corrected(DriftCorrection(), *[600, 1000] * STEPS)[STEPS - 1] == FRAME.shape[1] // MOST_WITH_JITTER


def test_the_correction_ends_when_the_audio_is_in_sync() -> None:
    drift, off, changes = DriftCorrection(), 400, []
    for _ in range(10 * STEPS):
        (by,) = corrected(drift, off)
        off -= by
        changes.append(by)
    assert changes[-1] == 0 and abs(off) <= RATE * 3 // 1000 and sum(changes) == 400 - off


def test_short_frames_and_a_new_beginning_are_left_alone() -> None:
    drift = DriftCorrection()
    corrected(drift, *[400] * STEPS)
    assert drift.correct(FRAME[:, : STEP_LEAST - 1], 400, RATE).shape[1] == STEP_LEAST - 1
    drift.clear()
    assert corrected(drift, 400) == [0]
