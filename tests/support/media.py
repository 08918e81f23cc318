"""Clips with numbered frames, and with flashes and beeps at the same moments, made by FFmpeg.

The upper third of a frame is sixteen blocks, black or white: the frame number in binary, lowest bit on the left. The middle
third is white in two frames of every second, during which the audio has a loud tone; a quiet tone is always present. The
lower third moves, so that there is something to encode.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from streamwave.ffmpeg.locate import locate

BITS = 16
#: Amplitudes of the two tones; full scale is 1.
QUIET, LOUD = 0.05, 0.5
#: The first frame of the first flash, and the length of each in frames. It is not the first frame of the clip, because every
#: AAC decoder fades in over the first AAC frame, so that a beep could not be located there.
FLASH_FIRST, FLASH_FRAMES = 1, 2


@dataclass(frozen=True)
class Clip:
    """A generated file: ``frames`` video frames at ``rate`` per second, ``samples`` of audio at ``sample_rate``."""

    path: Path
    rate: Fraction
    frames: int
    gop: int
    samples: int = 0
    sample_rate: int = 48000

    @property
    def flash_every(self) -> int:
        """Frames from one flash to the next: the integer nearest to one second."""
        return round(self.rate)

    def flashes(self) -> list[Fraction]:
        """Start times of the flashes, and so of the beeps, in seconds."""
        return [n / self.rate for n in range(FLASH_FIRST, self.frames, self.flash_every)]

    @property
    def chunks(self) -> int:
        """Number of chunks that the clip is split into: one per keyframe."""
        return -(-self.frames // self.gop)


#: Cache of clips, by all parameters.
_made: dict[tuple[object, ...], bytes] = {}


@cache
def ffmpeg_path() -> str:
    """The FFmpeg that the product uses; cached, because locating it takes longer than most of its uses."""
    return locate().path


def ffmpeg(*arguments: str, data: bytes = b"", timeout_s: float = 240, program: str | None = None) -> None:
    """Run FFmpeg, which must succeed; ``data`` is its input on pipe:0. ``program`` is another than the product's."""
    command = [program or ffmpeg_path(), "-hide_banner", "-loglevel", "error", "-y", *arguments]
    subprocess.run(command, check=True, timeout=timeout_s, input=data)


def quick_ffmpeg(*arguments: str, data: bytes = b"", timeout_s: float = 240) -> None:
    """Run the FFmpeg from pip: it loads no shared libraries, so it starts in a fifth of the time of the system's."""
    ffmpeg(*arguments, data=data, timeout_s=timeout_s, program=imageio_ffmpeg.get_ffmpeg_exe())


def make_clip(
    path: Path,
    rate: Fraction = Fraction(25),
    frames: int = 100,
    *,
    gop: int | None = None,
    video: bool = True,
    audio: bool = True,
    sample_rate: int = 48000,
    channels: int = 2,
    size: str = "320x180",
    options: tuple[str, ...] = (),
) -> Clip:
    """A clip with B-frames and a keyframe every ``gop`` frames (default: two seconds), and stereo AAC.

    ``options`` are FFmpeg output options, for example another audio codec.
    """
    gop = gop or 2 * round(rate)
    every = round(rate)
    samples = round(frames / rate * sample_rate)
    clip = Clip(path, rate, frames if video else 0, gop, samples if audio else 0, sample_rate)
    key = (path.suffix, rate, frames, gop, video, audio, sample_rate, channels, size, options)
    if key in _made:
        path.write_bytes(_made[key])
        return clip
    width, height = map(int, size.split("x"))
    inputs: list[str] = []
    if video:
        inputs += ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", size, "-r", str(rate), "-i", "pipe:0"]
    if audio:
        period, first, length = (float(n / rate) for n in (every, FLASH_FIRST, FLASH_FRAMES))
        place = f"(mod(t\\,{period})-{first})"
        beep = f"{LOUD}*sin(2*PI*1000*{place})*gte({place}\\,0)*lt({place}\\,{length})"
        tones = "|".join(f"{QUIET}*sin(2*PI*{220 + 110 * channel}*t)+{beep}" for channel in range(channels))
        inputs += ["-f", "lavfi", "-i", f"aevalsrc='{tones}':s={sample_rate},atrim=end_sample={samples}"]
    quick_ffmpeg(
        *inputs,
        *("-c:v", "libx264", "-preset", "veryfast", "-bf", "2", "-g", str(gop), "-sc_threshold", "0"),
        *("-c:a", "aac", "-b:a", "160k", *options, str(path)),
        data=b"".join(_picture(n, every, width, height) for n in range(frames)) if video else b"",
    )
    _made[key] = path.read_bytes()
    return clip


def _picture(number: int, every: int, width: int, height: int) -> bytes:
    """Frame ``number`` as yuv420p."""
    luma = draw(number, FLASH_FIRST <= number % every < FLASH_FIRST + FLASH_FRAMES, width, height)
    return luma.tobytes() + grey_chroma(width, height)


def draw(number: int, flash: bool, width: int, height: int, moved: int | None = None) -> NDArray[np.uint8]:
    """Luma of frame ``number``, as ``[height, width]``; its lower third has moved as far as in frame ``moved``."""
    across, down = np.arange(width), np.arange(height)
    blocks = (number >> (across * BITS // width) & 1) * 219 + 16
    middle = 235 if flash else 16
    step = number if moved is None else moved
    moving = 20 + (2 * across[None, :] + 7 * step + 3 * down[:, None]) % 200
    luma = np.where(
        down[:, None] < height // 3, blocks[None, :], np.where(down[:, None] < 2 * height // 3, middle, moving)
    )
    return luma.astype(np.uint8)


def grey_chroma(width: int, height: int) -> bytes:
    """Both chroma planes of a grey yuv420p frame; for odd sizes they are rounded up."""
    return bytes([128]) * (2 * ((width + 1) // 2) * ((height + 1) // 2))


def picture_number(luma: NDArray[np.uint8]) -> int:
    """The number of a frame from its ``luma``, of any size. Fails if a block is neither black nor white."""
    height, width = luma.shape
    number = 0
    for bit in range(BITS):
        left, right = width * bit // BITS, width * (bit + 1) // BITS
        # Ignore the edges, which scaling and compression blur.
        inner = luma[height // 12 : height // 4, left + (right - left) // 4 : right - (right - left) // 4]
        mean = float(inner.mean())
        assert mean < 80 or mean > 170, f"block {bit} is grey ({mean:.0f})"
        number |= (mean > 128) << bit
    return number


def picture_flashes(luma: NDArray[np.uint8]) -> bool:
    """Whether the frame is part of a flash."""
    height, width = luma.shape
    return float(luma[height * 5 // 12 : height * 7 // 12, width // 4 : width * 3 // 4].mean()) > 128
