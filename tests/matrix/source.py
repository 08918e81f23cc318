"""Sources of the matrix: numbered frames with flashes, and audio with a beep at each flash, encoded and muxed by a recipe.

The default recipe is an unproblematic source: H.264 at 25 fps with B-frames and a keyframe every second, 48 kHz stereo AAC,
MP4. Everything special about a source is in its recipe.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.matrix.remux import remux
from tests.support.media import LOUD, QUIET, draw, ffmpeg, grey_chroma

H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-crf", "20")
AAC = ("-c:a", "aac", "-b:a", "160k")
#: Time of the first flash (an AAC decoder fades in before it); the next ones follow one second apart.
FIRST_FLASH, NEXT_FLASH = Fraction(1, 10), Fraction(1)
#: A flash lasts two frames; length and pitch of a beep.
BEEP = Fraction(60, 1000)
BEEP_HZ = 1000


@dataclass(frozen=True)
class Recipe:
    """How to make a source.

    ``times`` are the presentation times of the frames (default: ``frames`` frames at ``rate``), the first at 0; the audio
    begins at ``sound_from`` and ends at ``sound_until`` on the same clock (default: with the video), in seconds. ``sound`` and
    ``codec`` are FFmpeg output options, None for no audio or no video. ``gaps`` are half-open ranges in which nothing is sent.
    ``turned`` is the number of quarter turns, clockwise, by which a player has to rotate the stored frame. ``rework`` turns an
    ordinary file into the special one.
    """

    suffix: str = "mp4"
    rate: Fraction = Fraction(25)
    frames: int = 125
    size: tuple[int, int] = (256, 144)
    gop: int | None = None
    codec: tuple[str, ...] | None = H264
    sound: tuple[str, ...] | None = AAC
    sample_rate: int = 48000
    channels: int = 2
    sound_from: Fraction = Fraction(0)
    sound_until: Fraction | None = None
    gaps: tuple[tuple[Fraction, Fraction], ...] = ()
    times: tuple[Fraction, ...] | None = None
    numbers_from: int = 0
    turned: int = 0
    interlaced: bool = False
    options: tuple[str, ...] = ()
    rework: Callable[[Path, Path], None] | None = None
    first: str = field(default="mp4")  # input of ``rework``

    @property
    def count(self) -> int:
        """Number of frames; 0 for a source without video."""
        return len(self.shown_at) if self.codec else 0

    @cached_property
    def shown_at(self) -> tuple[Fraction, ...]:
        """Presentation time of each frame, in seconds."""
        if self.times is not None:
            return self.times
        every = [n / self.rate for n in range(self.frames)]
        return tuple(t for t in every if not any(begin <= t < end for begin, end in self.gaps))

    @property
    def end(self) -> Fraction:
        """End of the last frame, in seconds."""
        return self.shown_at[-1] + 1 / self.rate

    @property
    def sound_end(self) -> Fraction:
        """End of the audio, in seconds."""
        return self.end if self.sound_until is None else self.sound_until

    @cached_property
    def flashes(self) -> tuple[int, ...]:
        """Indices of the frames at which flashes begin."""
        found: list[int] = []
        for n, time in enumerate(self.shown_at[:-1]):
            due = not found or (n > found[-1] + 2 and time >= self.shown_at[found[-1]] + NEXT_FLASH)
            # Audio fades in where it starts.
            if due and all(
                not begin <= time < begin + FIRST_FLASH for begin in (Fraction(0), *(gap[1] for gap in self.gaps))
            ):
                found.append(n)
        return tuple(found)

    @property
    def beeps(self) -> tuple[int, ...]:
        """Indices of the flashes that have an audible beep."""
        if self.sound is None:
            return ()
        return tuple(n for n in self.flashes if self.sound_from <= self.shown_at[n] < self.sound_end - BEEP)

    def make(self, path: Path) -> Path:
        """Write the source to ``path`` with the recipe's suffix. Returns its path."""
        target = path.with_suffix(f".{self.suffix}")
        with tempfile.TemporaryDirectory(dir=path.parent) as name:
            folder = Path(name)
            if self.rework is not None:
                coded = folder / f"first.{self.first}"
                self._encode(coded, folder)
                self.rework(coded, target)
            else:
                self._encode(target, folder)
        return target

    def _encode(self, target: Path, folder: Path) -> None:
        """Encode the source, with the frames at their times."""
        if self.times is None and not self.gaps:
            self._run(target, folder)
            return
        even = folder / "even.mp4"
        self._run(even, folder)
        remux(even, target, picture=self._moved, sound=self._sent)

    def _moved(self, time: Fraction) -> Fraction:
        return self.shown_at[round(time * self.rate)]

    def _sent(self, time: Fraction) -> Fraction | None:
        return None if any(begin <= time < end for begin, end in self.gaps) else time

    def _run(self, target: Path, folder: Path) -> None:
        inputs: list[str] = []
        outputs: list[str] = []
        if self.codec:
            width, height = self.stored_size
            inputs += ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{width}x{height}", "-r", str(self.rate)]
            inputs += ["-i", "pipe:0"]
            outputs += [*self.codec, "-g", str(self.gop or round(self.rate)), "-sc_threshold", "0"]
        if self.sound:
            samples = folder / "sound.raw"
            samples.write_bytes(self._samples().tobytes())
            inputs += ["-itsoffset", str(float(self.sound_from)), "-f", "f32le", "-ar", str(self.sample_rate)]
            inputs += ["-ac", str(self.channels), "-i", str(samples)]
            outputs += [*self.sound]
        pictures = b"".join(self._pictures()) if self.codec else b""
        ffmpeg(*inputs, *outputs, *self.options, str(target), data=pictures, timeout_s=120)

    @property
    def stored_size(self) -> tuple[int, int]:
        """Width and height of the coded frame."""
        width, height = self.size
        return (height, width) if self.turned % 2 else (width, height)

    def _pictures(self) -> Iterator[bytes]:
        flashing = {n + more for n in self.flashes for more in (0, 1)}
        width, height = self.size
        for index in range(len(self.shown_at)):
            number = self.numbers_from + index
            luma = draw(number, index in flashing, width, height, 2 * number if self.interlaced else None)
            if self.interlaced:  # the second field is half a frame later
                luma[1::2] = draw(number, index in flashing, width, height, 2 * number + 1)[1::2]
            stored = np.ascontiguousarray(np.rot90(luma, self.turned))
            yield stored.tobytes() + grey_chroma(stored.shape[1], stored.shape[0])

    def _samples(self) -> NDArray[np.float32]:
        """The audio, as ``[sample, channel]``: a different quiet tone in each channel, and the beeps in all of them."""
        begin = self.sound_from
        count = round((self.sound_end - begin) * self.sample_rate)
        time = np.arange(count) / self.sample_rate + float(begin)
        sound = np.stack([QUIET * np.sin(2 * np.pi * (220 + 110 * c) * time) for c in range(self.channels)], axis=1)
        for n in self.beeps:
            at = self.shown_at[n]
            first = -((begin - at) * self.sample_rate // 1)
            last = first + round(BEEP * self.sample_rate)
            beep = np.sin(2 * np.pi * BEEP_HZ * (time[first:last] - float(at)))
            sound[first:last] += LOUD * beep[:, None]
        return sound.astype(np.float32)
