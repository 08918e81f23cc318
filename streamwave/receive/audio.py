"""The audio of a session as one unbroken AAC stream, encoded once.

AAC that is restarted for every chunk clicks at each seam, so the encoder lives as long as the session and chunks only
share out its frames. Frame ``j`` holds the samples [1024·j, 1024·(j+1)) since the session's origin: the encoder's
priming frame is dropped, so that no player needs an edit list to be in sync.
"""

from __future__ import annotations

from collections import deque
from fractions import Fraction
from typing import Any

import numpy as np
from av import CodecContext, Packet

from streamwave.receive.sound import CHANNELS as CHANNELS
from streamwave.receive.sound import SAMPLE_RATE as SAMPLE_RATE
from streamwave.receive.sound import Samples, Sound, audio_frame
from streamwave.timing import AAC_FRAME, round_half_up

#: Sound that is remembered, beyond the length of a chunk, for a session that turns out to begin in the past, in seconds.
MEMORY_S = 10


def memory_samples(chunk_ms: int) -> int:
    """How much sound to remember for chunks of at least ``chunk_ms``. Four and a half megabytes where that is two seconds."""
    return (MEMORY_S * 1000 + chunk_ms) * SAMPLE_RATE // 1000


class AudioTrack:
    """Encodes what ``sound`` puts out from ``origin`` (seconds on the source's clock) on to AAC-LC, 48 kHz stereo.

    ``memory`` samples are remembered for a ``branch``.
    """

    def __init__(
        self, bit_rate_bps: int, sound: Sound, origin: Fraction | None = None, *, memory: int = MEMORY_S * SAMPLE_RATE
    ) -> None:
        self._bit_rate_bps = bit_rate_bps
        self._sound = sound
        self._memory = memory
        self._start = round_half_up(((sound.origin if origin is None else origin) - sound.origin) * SAMPLE_RATE)
        self._encoder = CodecContext.create("aac", "w")
        self._encoder.sample_rate = SAMPLE_RATE
        self._encoder.layout = "stereo"
        self._encoder.format = "fltp"
        self._encoder.bit_rate = bit_rate_bps
        self._encoder.time_base = Fraction(1, SAMPLE_RATE)
        self._pending: list[Samples] = []
        self._pending_samples = 0
        self._skip = max(0, self._start - sound.position)  # samples that belong to the session before
        self._recent: deque[Samples] = deque()
        self._recent_samples = 0
        self._blocks = 0
        self._priming = True
        self._frames: list[bytes] = []
        self._taken = 0
        sound.sinks.append(self._take_in)

    @property
    def awaited(self) -> bool:
        """Whether there is sound to be expected. If not it may still begin at any time."""
        return self._sound.announced or self._sound.heard

    def came(self, after: Fraction) -> None:
        """Some sound has come, ``after`` seconds later than pictures that are shown with it."""
        self._sound.lag = max(self._sound.lag, after)

    @property
    def lag_ms(self) -> int:
        """How much later than its pictures sound arrives; what is missing now may well be on its way for so long."""
        return round_half_up(self._sound.lag * 1000)

    @property
    def available(self) -> int:
        """AAC frames since the origin that are ready, taken ones included."""
        return self._taken + len(self._frames)

    def branch(self, origin: Fraction) -> AudioTrack:
        """A track of the same sound for a session that begins at ``origin``, which may be some seconds ago."""
        other = AudioTrack(self._bit_rate_bps, self._sound, origin, memory=self._memory)
        missing = self._sound.position - other._start
        if missing > 0:
            known = np.concatenate([np.zeros((2, 0), np.float32), *self._recent], axis=1)[:, -missing:]
            other._take_in(np.pad(known, ((0, 0), (missing - known.shape[1], 0))))
        return other

    def close(self) -> None:
        """Take in nothing more."""
        if self._take_in in self._sound.sinks:
            self._sound.sinks.remove(self._take_in)

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
        """Put in silence until AAC frame ``frame`` can be taken; what arrives late for that stretch is dropped."""
        # Two more blocks: one that the encoder overlaps with, one that it looks ahead.
        self._sound.lag = Fraction(0)  # it was waited for in vain
        self._sound.silence_until(self._start + (frame + 2) * AAC_FRAME)

    def settle(self) -> int:
        """All of the sound has come; how long it is, in milliseconds since the origin."""
        self._sound.settle()
        return -(-(self._sound.position - self._start) * 1000 // SAMPLE_RATE)

    def finish(self, frame: int = 0) -> None:
        """End of the session: silence up to AAC frame ``frame`` if there is less, then empty the encoder."""
        self._sound.finish(self._start + frame * AAC_FRAME)
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
