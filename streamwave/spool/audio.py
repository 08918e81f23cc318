"""The audio of a session as one unbroken AAC stream: decoded, put on an exact sample count, encoded once.

AAC that is restarted for every chunk clicks at each seam, so the encoder lives as long as the session and chunks only
share out its frames. Frame ``j`` holds the samples [1024·j, 1024·(j+1)) since the session's origin: the encoder's
priming frame is dropped, so that no player needs an edit list to be in sync.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import numpy as np
from av import AudioFrame, AudioResampler, CodecContext, Packet
from numpy.typing import NDArray

from streamwave.timing import AAC_FRAME, round_half_up

SAMPLE_RATE = 48000
CHANNELS = 2
#: Timestamps may lie off the sample count by this much (RTMP rounds to milliseconds) before silence is put in or
#: samples are taken out.
TOLERANCE = Fraction(1, 100)
#: A source's last AAC, MP3 or Opus frame may hold up to this many seconds of padding after its end.
PADDING = Fraction(1, 10)
#: The longest silence put in at once: a larger gap is a broken clock, not a pause.
MAX_FILL = 3600


class AudioTrack:
    """Decodes one audio track and encodes it to AAC-LC, 48 kHz stereo.

    ``origin`` and ``end`` are in seconds on the source's clock; what a decoder puts out just after ``end`` is the padding
    of the source's last frame. None: the source does not say when its audio ends.
    """

    def __init__(self, bit_rate_bps: int, origin: Fraction, end: Fraction | None = None) -> None:
        self._origin = origin
        self._end = end
        self._encoder = CodecContext.create("aac", "w")
        self._encoder.sample_rate = SAMPLE_RATE
        self._encoder.layout = "stereo"
        self._encoder.format = "fltp"
        self._encoder.bit_rate = bit_rate_bps
        self._encoder.time_base = Fraction(1, SAMPLE_RATE)
        self._to_planar: AudioResampler | None = None
        self._to_rate: AudioResampler | None = None
        self._shape: tuple[str, str, int] | None = None
        self._rate = SAMPLE_RATE
        self._base = Fraction(0)  # seconds that were written before the source's sample rate last changed
        self._written = 0  # samples since then, at the source's rate
        self._pending: list[NDArray[np.float32]] = []
        self._pending_samples = 0
        self._blocks = 0
        self._priming = True
        self._frames: list[bytes] = []
        self._taken = 0
        self.errors = 0

    @property
    def available(self) -> int:
        """AAC frames since the origin that are ready, taken ones included."""
        return self._taken + len(self._frames)

    def push(self, packet: Packet[Any]) -> None:
        """Decode one packet; a damaged one is counted and leaves a gap that is filled with silence."""
        try:
            frames: list[Any] = packet.decode()
        except av.error.FFmpegError:
            self.errors += 1
            return
        for frame in frames:
            if isinstance(frame, AudioFrame):
                self._add(frame)

    def flush_decoder(self, context: Any) -> None:
        """Take what the decoder still holds at the end of the source."""
        try:
            frames = context.decode(None)
        except av.error.FFmpegError:
            return
        for frame in frames:
            if isinstance(frame, AudioFrame):
                self._add(frame)

    def _add(self, frame: AudioFrame) -> None:
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if shape != self._shape:
            self._change(shape)
        assert self._to_planar is not None
        samples: NDArray[np.float32] = np.concatenate(
            [planar.to_ndarray() for planar in self._to_planar.resample(frame)]
            or [np.zeros((CHANNELS, 0), np.float32)],
            axis=1,
        )
        if frame.pts is not None and frame.time_base is not None:
            place = round_half_up((frame.pts * frame.time_base - self._origin - self._base) * self._rate)
            off = place - self._written
            # The first samples go exactly where they belong: what they are off by would last as long as the stream.
            limit = TOLERANCE * self._rate if self._written else 0
            if off > limit:
                self._silence(min(off, MAX_FILL * self._rate))
            elif off < -limit:
                samples = samples[:, -off:]
        self._write(self._without_padding(samples))

    def _without_padding(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """``samples`` up to the stated end; all of them if the source goes on long after it, so the statement is wrong."""
        if self._end is None:
            return samples
        left = round_half_up((self._end - self._origin - self._base) * self._rate) - self._written
        if left < -PADDING * self._rate:
            self._end = None
            return samples
        return samples[:, : max(0, left)]

    def _change(self, shape: tuple[str, str, int]) -> None:
        """The source's format is new: finish with the old resamplers and start others."""
        self._drain_rate()
        self._base += Fraction(self._written, self._rate)
        self._written = 0
        self._shape = shape
        self._rate = shape[2]
        self._to_planar = AudioResampler(format="fltp", layout="stereo", rate=self._rate)
        if self._rate != SAMPLE_RATE:
            self._to_rate = AudioResampler(format="fltp", layout="stereo", rate=SAMPLE_RATE)

    def _silence(self, samples: int) -> None:
        # In pieces: an hour of silence at once is a gigabyte.
        while samples > 0:
            piece = min(samples, self._rate)
            self._write(np.zeros((CHANNELS, piece), np.float32))
            samples -= piece

    def _write(self, samples: NDArray[np.float32]) -> None:
        if samples.shape[1] == 0:
            return
        self._written += samples.shape[1]
        if self._to_rate is None:
            self._queue(samples)
            return
        frame = _frame(samples, self._rate, self._written - samples.shape[1])
        for out in self._to_rate.resample(frame):
            self._queue(out.to_ndarray().astype(np.float32, copy=False))

    def _drain_rate(self) -> None:
        if self._to_rate is not None and self._written:
            for out in self._to_rate.resample(None):
                self._queue(out.to_ndarray().astype(np.float32, copy=False))
        self._to_rate = None

    def _queue(self, samples: NDArray[np.float32]) -> None:
        self._pending.append(samples)
        self._pending_samples += samples.shape[1]
        if self._pending_samples < AAC_FRAME:
            return
        joined = np.concatenate(self._pending, axis=1)
        whole = joined.shape[1] // AAC_FRAME
        for block in range(whole):
            self._encode(joined[:, block * AAC_FRAME : (block + 1) * AAC_FRAME])
        self._pending = [joined[:, whole * AAC_FRAME :]]
        self._pending_samples = self._pending[0].shape[1]

    def _encode(self, block: NDArray[np.float32]) -> None:
        frame = _frame(np.ascontiguousarray(block), SAMPLE_RATE, self._blocks * AAC_FRAME)
        self._blocks += 1
        self._collect(self._encoder.encode(frame))

    def _collect(self, packets: list[Packet[Any]]) -> None:
        for packet in packets:
            if self._priming:
                self._priming = False
            else:
                self._frames.append(bytes(packet))

    def fill_to(self, frame: int) -> None:
        """Put in silence until AAC frame ``frame`` can be taken; what arrives late for that stretch is dropped."""
        if self._shape is None:
            self._change(("fltp", "stereo", SAMPLE_RATE))
        # Two more blocks: one that the encoder overlaps with, one that it looks ahead.
        wanted = Fraction((frame + 2) * AAC_FRAME, SAMPLE_RATE)
        missing = round_half_up((wanted - self._base) * self._rate) - self._written
        self._silence(missing)
        while self.available < frame:
            self._silence(self._rate // 20)

    def finish(self, frame: int = 0) -> None:
        """End of the session: silence up to AAC frame ``frame`` if there is less, then empty the encoder."""
        missing = Fraction(frame * AAC_FRAME, SAMPLE_RATE) - self._base - Fraction(self._written, self._rate)
        if self._shape is None:
            self._change(("fltp", "stereo", SAMPLE_RATE))
        self._silence(round_half_up(missing * self._rate))
        self._drain_rate()
        if self._pending_samples:
            rest = np.concatenate(self._pending, axis=1)
            self._encode(np.pad(rest, ((0, 0), (0, AAC_FRAME - rest.shape[1]))))
            self._pending, self._pending_samples = [], 0
        if self._blocks:
            self._collect(self._encoder.encode(None))
            del self._frames[max(0, self._blocks - self._taken) :]

    def take(self, until: int) -> list[bytes]:
        """Remove and return the ready frames before AAC frame ``until``."""
        count = max(0, min(until - self._taken, len(self._frames)))
        frames, self._frames = self._frames[:count], self._frames[count:]
        self._taken += count
        return frames


def _frame(samples: NDArray[np.float32], rate: int, pts: int) -> AudioFrame:
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples, np.float32), format="fltp", layout="stereo")
    frame.sample_rate = rate
    frame.pts = pts
    frame.time_base = Fraction(1, rate)
    return frame
