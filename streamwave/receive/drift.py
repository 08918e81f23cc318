"""Correction of slow drift: audio is stretched or squeezed a little where its timestamps run away from its sample count."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from streamwave.receive.samples import Samples

#: The correction begins when the median of the last ``STEPS`` frames is off by ``STEP_MS``.
STEP_MS, STEPS = 3, 31
#: Frames of fewer samples are left as they are.
STEP_LEAST = 128
#: A frame is stretched or squeezed by at most this part of its length; where timestamps have much jitter, by the second.
MOST, MOST_WITH_JITTER = 50, 200


class DriftCorrection:
    """Follows how far the frames of an audio track are off their timestamps.

    The clocks of sound cards drift. Waiting until they have drifted by the tolerance of ``AudioDecoder`` would put audio and
    pictures out of sync, and the correction would then be heard as a click.
    """

    def __init__(self) -> None:
        self._late: deque[int] = deque(maxlen=STEPS)

    def clear(self) -> None:
        """Forget the frames so far."""
        self._late.clear()

    def correct(self, samples: Samples, off: int, rate: int) -> Samples:
        """``samples``, stretched or squeezed if needed. They would be ``off`` samples too early, at ``rate``."""
        self._late.append(off)
        if len(self._late) < STEPS or samples.shape[1] < STEP_LEAST:
            return samples
        in_order = sorted(self._late)
        median = in_order[len(in_order) // 2]
        jitter = _jitter(self._late)
        # With much jitter the median is not known exactly.
        if abs(median) <= max(Fraction(STEP_MS * rate, 1000), Fraction(jitter, 4)):
            return samples
        count = samples.shape[1]
        most = count // (MOST_WITH_JITTER if jitter * 1000 > 2 * STEP_MS * rate else MOST)
        by = max(-most, min(median, most))
        self._late = deque((late - by for late in self._late), maxlen=STEPS)
        at = np.linspace(0, count - 1, count + by)
        return np.stack([np.interp(at, np.arange(count), channel) for channel in samples]).astype(np.float32)


def _jitter(late: Sequence[int]) -> int:
    """The spread of the latest frames without their steady drift, ignoring the extreme tenth on either side."""
    third = len(late) // 3
    drift = sum(late[n - third] - late[n] for n in range(third))  # of ``third`` frames over all but ``third``
    apart = third * (len(late) - third)
    level = sorted(off - drift * n // apart for n, off in enumerate(late))
    return level[len(level) * 9 // 10] - level[len(level) // 10]
