"""The audio of a session as one unbroken AAC stream, encoded once.

An AAC encoder that is restarted for each chunk clicks at each seam, so one encoder lives as long as the session, and the
chunks divide its frames among them. Frame ``j`` holds the samples [1024·j, 1024·(j+1)) since the session's origin: the
encoder's priming frame is dropped, so that no player needs an edit list to be in sync.
"""

from __future__ import annotations

from collections import deque
from fractions import Fraction
from typing import Any

import numpy as np
from av import CodecContext, Packet

from streamwave.receive.audio_decoder import AudioDecoder
from streamwave.receive.samples import SAMPLE_RATE, Samples, audio_frame
from streamwave.timing import AAC_FRAME, round_half_up

#: Seconds of audio that are remembered, beyond the length of a chunk, for a session that turns out to begin in the past.
MEMORY_S = 10


def memory_samples(chunk_ms: int) -> int:
    """How many samples to remember with chunks of at least ``chunk_ms``: 4.5 MB with chunks of two seconds."""
    return (MEMORY_S * 1000 + chunk_ms) * SAMPLE_RATE // 1000


class AudioTrack:
    """Encodes the samples of ``decoder`` from ``origin`` (seconds on the source's clock) on to AAC-LC, 48 kHz stereo.

    ``memory`` samples are remembered for a ``branch``.
    """

    def __init__(
        self,
        bit_rate_bps: int,
        decoder: AudioDecoder,
        origin: Fraction | None = None,
        *,
        memory: int = MEMORY_S * SAMPLE_RATE,
    ) -> None:
        self._bit_rate_bps = bit_rate_bps
        self._decoder = decoder
        self._memory = memory
        self._start = round_half_up(((decoder.origin if origin is None else origin) - decoder.origin) * SAMPLE_RATE)
        self._encoder = CodecContext.create("aac", "w")
        self._encoder.sample_rate = SAMPLE_RATE
        self._encoder.layout = "stereo"
        self._encoder.format = "fltp"
        self._encoder.bit_rate = bit_rate_bps
        self._encoder.time_base = Fraction(1, SAMPLE_RATE)
        self._pending: list[Samples] = []
        self._pending_samples = 0
        self._skip = max(0, self._start - decoder.position)  # samples that belong to the session before
        self._recent: deque[Samples] = deque()
        self._recent_samples = 0
        self._blocks = 0
        self._priming = True
        self._frames: list[bytes] = []
        self._taken = 0
        decoder.sinks.append(self._take_in)

    @property
    def awaited(self) -> bool:
        """Whether audio is expected. It may begin at any time even if it is not."""
        return self._decoder.announced or self._decoder.heard

    def came(self, after: Fraction) -> None:
        """Note that audio has arrived ``after`` seconds later than the pictures shown with it."""
        self._decoder.lag = max(self._decoder.lag, after)

    @property
    def lag_ms(self) -> int:
        """By how much audio arrives after its pictures: for this long, missing audio may still be on its way."""
        return round_half_up(self._decoder.lag * 1000)

    @property
    def available(self) -> int:
        """How many AAC frames are ready, counted from the origin, including those that were taken."""
        return self._taken + len(self._frames)

    def branch(self, origin: Fraction) -> AudioTrack:
        """A track of the same audio for a session that begins at ``origin``, which may be some seconds ago."""
        other = AudioTrack(self._bit_rate_bps, self._decoder, origin, memory=self._memory)
        missing = self._decoder.position - other._start
        if missing > 0:
            known = np.concatenate([np.zeros((2, 0), np.float32), *self._recent], axis=1)[:, -missing:]
            other._take_in(np.pad(known, ((0, 0), (missing - known.shape[1], 0))))
        return other

    def close(self) -> None:
        """Accept no more samples."""
        if self._take_in in self._decoder.sinks:
            self._decoder.sinks.remove(self._take_in)

    def _take_in(self, samples: Samples) -> None:
        self._recent.append(samples)
        self._recent_samples += samples.shape[1]
        while self._recent_samples - self._recent[0].shape[1] > self._memory:
            self._recent_samples -= self._recent.popleft().shape[1]
        skipped = min(self._skip, samples.shape[1])
        self._skip -= skipped
        self._pending.append(samples[:, skipped:])
        self._pending_samples += samples.shape[1] - skipped
        if self._pending_samples < AAC_FRAME:
            return
        joined = np.concatenate(self._pending, axis=1)
        whole = joined.shape[1] // AAC_FRAME
        for block in range(whole):
            self._encode(joined[:, block * AAC_FRAME : (block + 1) * AAC_FRAME])
        self._pending = [joined[:, whole * AAC_FRAME :]]
        self._pending_samples = self._pending[0].shape[1]

    def _encode(self, block: Samples) -> None:
        frame = audio_frame(block, SAMPLE_RATE, self._blocks * AAC_FRAME)
        self._blocks += 1
        self._collect(self._encoder.encode(frame))

    def _collect(self, packets: list[Packet[Any]]) -> None:
        for packet in packets:
            if self._priming:
                self._priming = False
            else:
                self._frames.append(bytes(packet))

    def fill_to(self, frame: int) -> None:
        """Insert silence until AAC frame ``frame`` can be taken; audio that arrives late for that stretch is dropped."""
        # Two more blocks, because the encoder overlaps with one block and looks ahead by another.
        self._decoder.lag = Fraction(0)  # the wait was in vain
        self._decoder.silence_until(self._start + (frame + 2) * AAC_FRAME)

    def settle(self) -> int:
        """All of the audio has come; its end, in milliseconds since the origin."""
        self._decoder.settle()
        return -(-(self._decoder.position - self._start) * 1000 // SAMPLE_RATE)

    def finish(self, frame: int = 0) -> None:
        """End the session: insert silence up to AAC frame ``frame`` if there is less, then empty the encoder."""
        self._decoder.finish(self._start + frame * AAC_FRAME)
        self.close()
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
