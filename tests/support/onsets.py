"""Decodes audio and finds the starts of beeps."""

from __future__ import annotations

import io

import av
import numpy as np
from numpy.typing import NDArray

from streamwave.mp4 import adts_frame
from streamwave.receive.samples import CHANNELS, SAMPLE_RATE


def decode(frames: list[bytes]) -> NDArray[np.float32]:
    """Samples of AAC frames: (channels, samples)."""
    data = b"".join(adts_frame(frame, SAMPLE_RATE, CHANNELS) for frame in frames)
    with av.open(io.BytesIO(data), "r", format="aac") as container:
        return np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)


def onsets(samples: NDArray[np.float32]) -> list[float]:
    """Start times of sounds after silence, in seconds."""
    loud = np.flatnonzero(np.abs(samples).max(axis=0) > 0.3)
    return [float(sample) / SAMPLE_RATE for sample in loud[np.diff(loud, prepend=-SAMPLE_RATE) > SAMPLE_RATE // 20]]
