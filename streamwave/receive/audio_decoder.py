"""Decodes the audio of a source to 48 kHz stereo samples, each at its place in one unbroken count."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
from av import AudioFrame

from streamwave.receive.clock import Timed
from streamwave.receive.drift import DriftCorrection
from streamwave.receive.resample import SILENT, Resampler, Shape
from streamwave.receive.samples import CHANNELS, SAMPLE_RATE, Samples

#: Timestamps may be off the sample count by this many seconds (RTMP rounds to milliseconds) before silence is inserted or
#: samples are dropped.
TOLERANCE = Fraction(1, 100)
#: A source's last AAC, MP3 or Opus frame may hold up to this many seconds of padding after its end.
PADDING = Fraction(1, 10)
#: Frames that are off are held for this many seconds: audio was lost only if the frames after them are off as well.
HOLD = Fraction(16, 100)
#: A frame that is off by more seconds than this follows a pause or a loss, not a clock that is wrong.
SLIP = Fraction(1, 4)
#: The longest silence inserted at once, in seconds: a larger gap is a broken clock, not a pause.
MAX_FILL = 3600


class AudioDecoder:
    """Decodes one audio track and counts its samples from ``origin`` on; each block goes to all ``sinks``.

    ``origin`` and ``end`` are in seconds on the source's clock. What the decoder returns just after ``end`` is the padding of
    the source's last frame; None: the source does not say when its audio ends. ``announced``: the source says that it has
    audio.
    """

    def __init__(self, origin: Fraction, end: Fraction | None = None, *, announced: bool = True) -> None:
        self.origin = origin
        self.sinks: list[Callable[[Samples], None]] = []
        self.errors = 0
        self.announced = announced
        self.heard = False  # something was decoded
        self.mended = Fraction(0)  # seconds of silence inserted, less seconds of samples dropped, pauses aside
        self.lag = Fraction(0)  # the most that audio has arrived later than the pictures shown with it, in seconds
        self.end = end
        self._shift = Fraction(0)
        self._resampler = Resampler(self._put)
        self._drift = DriftCorrection()
        self._held: list[tuple[Samples, int]] = []  # frames that are off, with their places

    @property
    def position(self) -> int:
        """Samples passed on to the sinks."""
        return self._resampler.position

    def push(self, timed: Timed) -> None:
        """Decode one packet; a damaged one is counted and leaves a gap that is filled with silence."""
        packet = timed.packet
        # The decoder passes the packet's own time on to its frames; the offset that the clock has added is applied on top.
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
        """Take the frames that the decoder still holds at the end of the source."""
        try:
            frames = context.decode(None)
        except av.error.FFmpegError:
            return
        for frame in frames:
            if isinstance(frame, AudioFrame):
                self._add(frame, self._shift)

    def silence_until(self, position: int) -> None:
        """Insert silence until ``position`` is reached; audio that arrives late for that stretch is dropped."""
        self._begin()
        self._release()
        self._resampler.silence_until(position)

    def settle(self) -> None:
        """All of the audio has come: pass on what is held here or in the resampler."""
        self._change(SILENT, CHANNELS)

    def finish(self, position: int = 0) -> None:
        """End the audio: insert silence up to ``position`` if there is less, then empty the resampler."""
        self._begin()
        self._release()
        self._resampler.silence(self._resampler.place_of(Fraction(position, SAMPLE_RATE)) - self._resampler.written)
        self._resampler.drain()

    def _begin(self) -> None:
        if self._resampler.shape is None:
            self._change(SILENT, CHANNELS)

    def _change(self, shape: Shape, channels: int) -> None:
        self._release()
        self._resampler.change(shape, channels)
        self._drift.clear()

    def _add(self, frame: AudioFrame, shift: Fraction) -> None:
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if shape != self._resampler.shape:
            self._change(shape, frame.layout.nb_channels)
        samples = self._resampler.stereo(frame)
        self.heard = True
        if frame.pts is None or frame.time_base is None:
            self._release()
            self._write(samples)
            return
        place = self._resampler.place_of(frame.pts * frame.time_base + shift - self.origin)
        if not self._holds(samples, place):
            self._place(samples, place)

    def _holds(self, samples: Samples, place: int) -> bool:
        """Hold ``samples``, which belong to ``place``, if only the frames after them can tell where they go; whether so.

        Publishers stamp audio with their clock at the moment they have it, so one frame is early and the next one late.
        Following every timestamp would tear the audio to pieces. Audio is lost, or repeated, where all timestamps are off.
        """
        rate, written = self._resampler.rate, self._resampler.written
        held = sum(one.shape[1] for one, _ in self._held)
        off = place - written - held
        begins = not written and abs(place - self._held[0][1] - held if self._held else 0) <= SLIP * rate
        is_off = bool(written) and TOLERANCE * rate < abs(off) <= SLIP * rate
        if not begins and not is_off:
            # Either certainly a pause, or a frame at its place.
            self._release(lost=not written or abs(off) > SLIP * rate)
            return False
        if is_off and self._held and (off > 0) != (self._held[0][1] > written):
            self._release(lost=False)
            held = 0
        self._held.append((samples, place))
        if held + samples.shape[1] >= HOLD * rate:
            self._release()
        return True

    def _release(self, *, lost: bool = True) -> None:
        """Write the held frames: at their places if audio was ``lost``, else directly after what came before."""
        held, self._held = self._held, []
        if not self._resampler.written:
            held = _steadied(held, TOLERANCE * self._resampler.rate)
        for samples, place in held:
            if lost:
                self._place(samples, place)
            else:
                self._write(self._in_sync(samples, place - self._resampler.written))

    def _place(self, samples: Samples, place: int) -> None:
        """Write ``samples`` at ``place``, or directly after what came before if that is within the tolerance."""
        rate, written = self._resampler.rate, self._resampler.written
        samples = self._in_sync(samples, place - written)
        off = place - written
        # The first samples go exactly to their place, because an offset would last as long as the stream.
        limit = TOLERANCE * rate if written else 0
        if off > limit:
            self._resampler.silence(min(off, MAX_FILL * rate))
        elif off < -limit:
            samples = samples[:, -off:]
        if self._resampler.written and abs(off) > limit:
            if abs(off) <= SLIP * rate:
                self.mended += Fraction(off, rate)
            self._drift.clear()
        self._write(samples)

    def _in_sync(self, samples: Samples, off: int) -> Samples:
        corrected = self._drift.correct(samples, off, self._resampler.rate)
        self.mended += Fraction(corrected.shape[1] - samples.shape[1], self._resampler.rate)
        return corrected

    def _write(self, samples: Samples) -> None:
        self._resampler.write(self._without_padding(samples))

    def _without_padding(self, samples: Samples) -> Samples:
        """``samples`` up to the stated end; all of them if the source goes on long after it, so the statement is wrong."""
        if self.end is None:
            return samples
        left = self._resampler.place_of(self.end - self.origin) - self._resampler.written
        if left < -PADDING * self._resampler.rate:
            self.end = None
            return samples
        return samples[:, : max(0, left)]

    def _put(self, samples: Samples) -> None:
        for sink in list(self.sinks):
            sink(samples)


def _steadied(frames: list[tuple[Samples, int]], limit: Fraction) -> list[tuple[Samples, int]]:
    """Frames without gaps, beginning where most of them say, if their places are off each other by more than ``limit``."""
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
