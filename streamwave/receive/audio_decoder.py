"""The sound of a source as samples: decoded, 48 kHz stereo, each in its place on one unbroken count."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av import AudioFrame, AudioResampler
from numpy.typing import NDArray

from streamwave.receive.clock import Timed
from streamwave.timing import round_half_up

SAMPLE_RATE = 48000
CHANNELS = 2
#: Timestamps may lie off the sample count by this much (RTMP rounds to milliseconds) before silence is put in or
#: samples are taken out.
TOLERANCE = Fraction(1, 100)
#: What is off by more than this for this many frames is stretched or squeezed, by a fiftieth at most.
STEP_MS, STEPS, STEP_LEAST = 3, 31, 128
#: A source's last AAC, MP3 or Opus frame may hold up to this many seconds of padding after its end.
PADDING = Fraction(1, 10)
#: What is off is held for so long, to find out whether what follows is off as well: only then was something lost.
HOLD = Fraction(16, 100)
#: What is longer at once is a pause, or lost, and no clock that is wrong.
SLIP = Fraction(1, 4)
#: The longest silence put in at once: a larger gap is a broken clock, not a pause.
MAX_FILL = 3600

Samples = NDArray[np.float32]


class Sound:
    """Decodes one audio track and counts its samples from ``origin`` on; each block goes to all ``sinks``.

    ``origin`` and ``end`` are in seconds on the source's clock; what a decoder puts out just after ``end`` is the padding
    of the source's last frame. None: the source does not say when its audio ends. ``announced``: it says that it has any.
    """

    def __init__(self, origin: Fraction, end: Fraction | None = None, *, announced: bool = True) -> None:
        self.origin = origin
        self.position = 0  # samples put out
        self.sinks: list[Callable[[Samples], None]] = []
        self.errors = 0
        self.announced = announced
        self.heard = False  # something was decoded
        self.mended = Fraction(0)  # seconds of silence put in, less seconds of samples taken out, pauses aside
        self.lag = Fraction(0)  # seconds that it has arrived later than the pictures it belongs to, at most
        self.end = end
        self._shift = Fraction(0)
        self._to_planar: AudioResampler | None = None
        self._to_rate: AudioResampler | None = None
        self._shape: tuple[str, str, int] | None = None
        self._channels = CHANNELS
        self._rate = SAMPLE_RATE
        self._base = Fraction(0)  # seconds that were written before the source's sample rate last changed
        self._written = 0  # samples since then, at the source's rate
        self._late: deque[int] = deque(maxlen=STEPS)  # how far off the latest frames were
        self._held: list[tuple[Samples, int]] = []  # frames that are off, with their places

    def push(self, timed: Timed) -> None:
        """Decode one packet; a damaged one is counted and leaves a gap that is filled with silence."""
        packet = timed.packet
        # The decoder hands the packet's own time on to its frames; what the clock has added comes on top.
        stamp = packet.pts if packet.pts is not None else packet.dts
        shift = timed.shown - (stamp * Fraction(packet.time_base or 1) if stamp is not None else timed.shown)
        self._shift = shift
        try:
            frames: list[Any] = packet.decode()
        except av.error.FFmpegError:
            self.errors += 1
            return
        for frame in frames:
            if isinstance(frame, AudioFrame):
                self._add(frame, shift)

    def flush(self, context: Any) -> None:
        """Take what the decoder still holds at the end of the source."""
        try:
            frames = context.decode(None)
        except av.error.FFmpegError:
            return
        for frame in frames:
            if isinstance(frame, AudioFrame):
                self._add(frame, self._shift)

    def silence_until(self, position: int) -> None:
        """Put in silence until ``position`` is reached; what arrives late for that stretch is dropped."""
        if self._shape is None:
            self._change(("fltp", "stereo", SAMPLE_RATE), CHANNELS)
        self._release()
        missing = round_half_up((Fraction(position, SAMPLE_RATE) - self._base) * self._rate) - self._written
        self._silence(missing)
        # A resampler holds some back.
        while self._to_rate is not None and self.position < position:
            self._silence(self._rate // 20)

    def settle(self) -> None:
        """All of the sound has come: put out what is held, or waits in the resampler."""
        self._change(("fltp", "stereo", SAMPLE_RATE), CHANNELS)

    def finish(self, position: int = 0) -> None:
        """The end: silence up to ``position`` if there is less, then empty the resampler."""
        if self._shape is None:
            self._change(("fltp", "stereo", SAMPLE_RATE), CHANNELS)
        self._release()
        missing = Fraction(position, SAMPLE_RATE) - self._base - Fraction(self._written, self._rate)
        self._silence(round_half_up(missing * self._rate))
        self._drain_rate()

    def _add(self, frame: AudioFrame, shift: Fraction) -> None:
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if shape != self._shape:
            self._change(shape, frame.layout.nb_channels)
        samples = self._stereo(frame)
        if frame.pts is not None and frame.time_base is not None:
            self.heard = True
            at = frame.pts * frame.time_base + shift
            place = round_half_up((at - self.origin - self._base) * self._rate)
            if not self._holds(samples, place):
                self._place(samples, place)
            return
        self._release()
        self.heard = True
        self._write(self._without_padding(samples))

    def _holds(self, samples: Samples, place: int) -> bool:
        """Whether to wait for what follows before ``samples``, which belong to ``place``, are put there.

        Publishers stamp sound with whatever their clock says when they have it: one frame is early and the next one late.
        To believe each stamp would tear the sound to pieces. Something is lost, or comes twice, where all stamps are off.
        """
        held = sum(one.shape[1] for one, _ in self._held)
        off = place - self._written - held
        begins = not self._written and abs(place - self._held[0][1] - held if self._held else 0) <= SLIP * self._rate
        is_off = bool(self._written) and TOLERANCE * self._rate < abs(off) <= SLIP * self._rate
        if not begins and not is_off:
            # A pause, which is for sure, or a frame in its place.
            self._release(lost=not self._written or abs(off) > SLIP * self._rate)
            return False
        if is_off and self._held and (off > 0) != (self._held[0][1] > self._written):
            self._release(lost=False)
            held = 0
        self._held.append((samples, place))
        if held + samples.shape[1] >= HOLD * self._rate:
            self._release()
        return True

    def _release(self, *, lost: bool = True) -> None:
        """Put out what is held: in its place if something was ``lost``, else behind what came before."""
        held, self._held = self._held, []
        if not self._written:
            held = _steadied(held, TOLERANCE * self._rate)
        for samples, place in held:
            if lost:
                self._place(samples, place)
            else:
                self._write(self._without_padding(self._kept_in_step(samples, place - self._written)))

    def _place(self, samples: Samples, place: int) -> None:
        """Put ``samples`` out at ``place``, or behind what came before if that is hardly earlier or later."""
        samples = self._kept_in_step(samples, place - self._written)
        off = place - self._written
        # The first samples go exactly where they belong: what they are off by would last as long as the stream.
        limit = TOLERANCE * self._rate if self._written else 0
        if off > limit:
            self._silence(min(off, MAX_FILL * self._rate))
        elif off < -limit:
            samples = samples[:, -off:]
        if self._written and abs(off) > limit:
            if abs(off) <= SLIP * self._rate:
                self.mended += Fraction(off, self._rate)
            self._late.clear()
        self._write(self._without_padding(samples))

    def _kept_in_step(self, samples: Samples, off: int) -> Samples:
        """``samples``, a little stretched or squeezed if the sound has been off its timestamps for a while.

        ``off`` is how many samples too early they would be. Clocks of sound cards drift; to wait until they have drifted by
        ``TOLERANCE`` would put sound and pictures out of step and then be heard as a click.
        """
        self._late.append(off)
        if len(self._late) < STEPS or samples.shape[1] < STEP_LEAST:
            return samples
        in_order = sorted(self._late)
        usual = in_order[len(in_order) // 2]
        # The middle of stamps that tremble is not known as well as that.
        trembling = _trembling(self._late)
        if abs(usual) <= max(Fraction(STEP_MS * self._rate, 1000), Fraction(trembling, 4)):
            return samples
        count = samples.shape[1]
        most = count // (200 if trembling * 1000 > 2 * STEP_MS * self._rate else 50)
        by = max(-most, min(usual, most))
        self._late = deque((late - by for late in self._late), maxlen=STEPS)
        self.mended += Fraction(by, self._rate)
        at = np.linspace(0, count - 1, count + by)
        return np.stack([np.interp(at, np.arange(count), channel) for channel in samples]).astype(np.float32)

    def _stereo(self, frame: AudioFrame) -> Samples:
        assert self._to_planar is not None
        out = [planar.to_ndarray() for planar in self._to_planar.resample(frame)] or [np.zeros((CHANNELS, 0))]
        samples: Samples = np.concatenate(out, axis=1).astype(np.float32)
        if self._channels > CHANNELS:
            return samples / np.float32(2**31)
        return np.repeat(samples[:1], CHANNELS, axis=0) if self._channels == 1 else samples

    def _without_padding(self, samples: Samples) -> Samples:
        """``samples`` up to the stated end; all of them if the source goes on long after it, so the statement is wrong."""
        if self.end is None:
            return samples
        left = round_half_up((self.end - self.origin - self._base) * self._rate) - self._written
        if left < -PADDING * self._rate:
            self.end = None
            return samples
        return samples[:, : max(0, left)]

    def _change(self, shape: tuple[str, str, int], channels: int) -> None:
        """The source's format is new: finish with the old resamplers and start others."""
        self._release()
        self._drain_rate()
        self._base += Fraction(self._written, self._rate)
        self._written = 0
        self._late.clear()
        self._shape = shape
        self._rate, self._channels = shape[2], channels
        # More than two channels are mixed as integers, because libswresample then scales the mix so that it can't clip.
        # One channel sounds as loud from both sides as it was: libswresample would take 3 dB off.
        kinds = {1: ("fltp", "mono"), CHANNELS: ("fltp", "stereo")}
        format, layout = kinds.get(channels, ("s32p", "stereo"))
        self._to_planar = AudioResampler(format=format, layout=layout, rate=self._rate)
        if self._rate != SAMPLE_RATE:
            self._to_rate = AudioResampler(format="fltp", layout="stereo", rate=SAMPLE_RATE)

    def _silence(self, samples: int) -> None:
        # In pieces: an hour of silence at once is a gigabyte.
        while samples > 0:
            piece = min(samples, self._rate)
            self._write(np.zeros((CHANNELS, piece), np.float32))
            samples -= piece

    def _write(self, samples: Samples) -> None:
        if samples.shape[1] == 0:
            return
        self._written += samples.shape[1]
        if self._to_rate is None:
            self._put(samples)
            return
        frame = audio_frame(samples, self._rate, self._written - samples.shape[1])
        for out in self._to_rate.resample(frame):
            self._put(out.to_ndarray().astype(np.float32, copy=False))

    def _drain_rate(self) -> None:
        if self._to_rate is not None and self._written:
            for out in self._to_rate.resample(None):
                self._put(out.to_ndarray().astype(np.float32, copy=False))
        self._to_rate = None

    def _put(self, samples: Samples) -> None:
        self.position += samples.shape[1]
        for sink in list(self.sinks):
            sink(samples)


def _trembling(late: Sequence[int]) -> int:
    """How far off the latest frames are from each other, but for one in ten on either side, and for what is a steady drift."""
    third = len(late) // 3
    drift = sum(late[n - third] - late[n] for n in range(third))  # of ``third`` frames over all but ``third``
    apart = third * (len(late) - third)
    level = sorted(off - drift * n // apart for n, off in enumerate(late))
    return level[len(level) * 9 // 10] - level[len(level) // 10]


def _steadied(frames: list[tuple[Samples, int]], limit: Fraction) -> list[tuple[Samples, int]]:
    """Frames one behind the other, from where most of them say, if their places are off each other by more than ``limit``."""
    first, so_far = [], 0
    for samples, place in frames:
        first.append(place - so_far)
        so_far += samples.shape[1]
    if not first or max(first) - min(first) <= limit:
        return frames
    usual, steady = sorted(first)[len(first) // 2], []
    begin = usual if abs(usual - first[0]) > limit else first[0]
    for samples, _ in frames:
        steady.append((samples, begin))
        begin += samples.shape[1]
    return steady


def audio_frame(samples: Samples, rate: int, pts: int) -> AudioFrame:
    """A frame of planar stereo floats."""
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples, np.float32), format="fltp", layout="stereo")
    frame.sample_rate = rate
    frame.pts = pts
    frame.time_base = Fraction(1, rate)
    return frame
