"""Media for the tests of streamwave.mp4, made by every FFmpeg on this machine: the carried one, and the system's."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Callable
from functools import cache

import av
import av.container
import imageio_ffmpeg
import pytest

RATE, TIMESCALE, FRAME_TICKS, GOP = 30, 30000, 1000, 20
FFMPEGS = sorted({imageio_ffmpeg.get_ffmpeg_exe(), shutil.which("ffmpeg") or imageio_ffmpeg.get_ffmpeg_exe()})


def run_ffmpeg(ffmpeg: str, *arguments: str, stdin: bytes | None = None) -> tuple[bytes, str]:
    """(stdout, stderr) of an FFmpeg that has to succeed within a deadline."""
    argv = [ffmpeg, "-hide_banner", "-v", "warning", *arguments]
    done = subprocess.run(argv, input=stdin if stdin is not None else b"", capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout, done.stderr.decode()


@cache
def encode_chunk(ffmpeg: str, first: int, frames: int, bframes: int) -> bytes:
    """A fragmented MP4 of pictures [first, first + frames) of a test source, an IDR picture every GOP pictures."""
    out, _ = run_ffmpeg(
        ffmpeg,
        "-f", "lavfi", "-i", f"testsrc2=size=320x180:rate={RATE}",
        "-vf", f"trim=start_frame={first}:end_frame={first + frames},setpts=PTS-STARTPTS,format=yuv420p",
        "-c:v", "libx264", "-preset", "veryfast", "-threads", "1", "-bf", str(bframes), "-b_strategy", "0",
        "-maxrate", "600k", "-bufsize", "1200k", "-sc_threshold", "0", "-g", "600",
        "-force_key_frames", f"expr:eq(mod(n,{GOP}),0)",
        "-video_track_timescale", str(TIMESCALE),
        "-f", "mp4", "-movflags", "+cmaf+frag_keyframe+frag_discont+skip_sidx+skip_trailer", "pipe:1",
    )  # fmt: skip
    return out


@cache
def aac_frames(frames: int, sample_rate: int, channels: int) -> tuple[tuple[bytes, ...], bytes]:
    """(raw AAC-LC frames of a sine tone, the same frames as FFmpeg's ADTS file)."""
    out, _ = run_ffmpeg(
        FFMPEGS[0],
        "-f", "lavfi", "-i", f"sine=frequency=440:sample_rate={sample_rate}",
        "-ac", str(channels), "-t", str(frames * 1024 / sample_rate),
        "-c:a", "aac", "-b:a", "96k", "-f", "adts", "pipe:1",
    )  # fmt: skip
    with open_media(out, "aac") as container:
        packets = [bytes(packet) for packet in container.demux(audio=0) if packet.size]
    return tuple(packet[7:] for packet in packets), out


@pytest.fixture(params=FFMPEGS, ids=["system" if path.endswith("bin/ffmpeg") else "carried" for path in FFMPEGS])
def chunk(request: pytest.FixtureRequest) -> Callable[..., bytes]:
    """``chunk(first=0, frames=40, bframes=2)``: one chunk from one of the FFmpegs."""
    ffmpeg: str = request.param
    return lambda first=0, frames=40, bframes=2: encode_chunk(ffmpeg, first, frames, bframes)


def boxed(data: bytes, code: bytes) -> int:
    """Where the box ``code`` begins; it must be there once."""
    assert data.count(code) == 1
    return data.index(code) - 4


def open_media(data: bytes, format: str | None = None) -> av.container.InputContainer:
    """A demuxer of ``data``."""
    return av.open(io.BytesIO(data), "r", format=format)
