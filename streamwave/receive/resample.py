"""Conversion of audio in a source's format, which may change at any time, to one unbroken run of 48 kHz stereo samples."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
from av import AudioFrame, AudioResampler

from streamwave.receive.samples import CHANNELS, SAMPLE_RATE, Samples, audio_frame
from streamwave.timing import round_half_up

#: Sample format, channel layout and sample rate.
Shape = tuple[str, str, int]
#: The format for silence while no frame has been decoded.
SILENT: Shape = ("fltp", "stereo", SAMPLE_RATE)


class Resampler:
    """Converts samples at the source's ``rate`` to 48 kHz and passes them to ``put``.

    ``written`` counts the samples at that rate since the format last changed, ``position`` those at 48 kHz since the beginning.
    """

    def __init__(self, put: Callable[[Samples], None]) -> None:
        self._sink = put
        self.shape: Shape | None = None
        self.rate = SAMPLE_RATE
        self.written = 0
        self.position = 0
        self._base = Fraction(0)  # seconds that were written before the format last changed
        self._channels = CHANNELS
        self._to_planar: AudioResampler | None = None
        self._to_rate: AudioResampler | None = None

    def place_of(self, at: Fraction) -> int:
        """The sample that belongs to ``at`` (seconds since the beginning), counted like ``written``."""
        return round_half_up((at - self._base) * self.rate)

    def change(self, shape: Shape, channels: int) -> None:
        """Finish with the present format and expect frames of another one."""
        self.drain()
        self._base += Fraction(self.written, self.rate)
        self.written = 0
        self.shape = shape
        self.rate, self._channels = shape[2], channels
        # More than two channels are mixed as integers, because libswresample then scales the mix so that it can't clip.
        # One channel is copied to both sides: libswresample would make it 3 dB quieter.
        kinds = {1: ("fltp", "mono"), CHANNELS: ("fltp", "stereo")}
        format, layout = kinds.get(channels, ("s32p", "stereo"))
        self._to_planar = AudioResampler(format=format, layout=layout, rate=self.rate)
        if self.rate != SAMPLE_RATE:
            self._to_rate = AudioResampler(format="fltp", layout="stereo", rate=SAMPLE_RATE)

    def stereo(self, frame: AudioFrame) -> Samples:
        """The samples of a frame as stereo, at the source's rate."""
        assert self._to_planar is not None
        out = [planar.to_ndarray() for planar in self._to_planar.resample(frame)] or [np.zeros((CHANNELS, 0))]
        samples: Samples = np.concatenate(out, axis=1).astype(np.float32)
        if self._channels > CHANNELS:
            return samples / np.float32(2**31)
        return np.repeat(samples[:1], CHANNELS, axis=0) if self._channels == 1 else samples

    def write(self, samples: Samples) -> None:
        """Convert the next samples, which are stereo at the source's rate."""
        if samples.shape[1] == 0:
            return
        self.written += samples.shape[1]
        if self._to_rate is None:
            self._put(samples)
            return
        frame = audio_frame(samples, self.rate, self.written - samples.shape[1])
        for out in self._to_rate.resample(frame):
            self._put(out.to_ndarray().astype(np.float32, copy=False))

    def silence(self, count: int) -> None:
        """Write ``count`` samples of silence."""
        # In pieces, because an hour of silence at once takes a gigabyte.
        while count > 0:
            piece = min(count, self.rate)
            self.write(np.zeros((CHANNELS, piece), np.float32))
            count -= piece

    def silence_until(self, position: int) -> None:
        """Write silence until ``position`` samples at 48 kHz have been passed on."""
        self.silence(self.place_of(Fraction(position, SAMPLE_RATE)) - self.written)
        # libswresample holds some samples back.
        while self._to_rate is not None and self.position < position:
            self.silence(self.rate // 20)

    def drain(self) -> None:
        """Pass on the samples that libswresample holds back. Afterwards the format must be changed before more are written."""
        if self._to_rate is not None and self.written:
            for out in self._to_rate.resample(None):
                self._put(out.to_ndarray().astype(np.float32, copy=False))
        self._to_rate = None

    def _put(self, samples: Samples) -> None:
        self.position += samples.shape[1]
        self._sink(samples)
