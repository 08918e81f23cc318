"""The format that all received audio is converted to: 48 kHz stereo, as floats."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from av import AudioFrame
from numpy.typing import NDArray

SAMPLE_RATE = 48000
CHANNELS = 2

#: Of shape (CHANNELS, samples).
Samples = NDArray[np.float32]


def audio_frame(samples: Samples, rate: int, pts: int) -> AudioFrame:
    """A frame of planar stereo floats at ``rate``; ``pts`` counts samples."""
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples, np.float32), format="fltp", layout="stereo")
    frame.sample_rate = rate
    frame.pts = pts
    frame.time_base = Fraction(1, rate)
    return frame
