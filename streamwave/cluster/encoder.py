"""The identity of an encoder: what two machines must have in common to work on one stream."""

from __future__ import annotations

import hashlib
import tempfile
from functools import cache
from pathlib import Path

from streamwave.ffmpeg.process import Launcher
from streamwave.util.programs import ask
from streamwave.util.version import VERSION


@cache
def encoder_digest(ffmpeg_path: str) -> str:
    """Identifies StreamWave, FFmpeg and x264, by their versions and by how one black frame is encoded.

    Encoders with different digests must not work on one session, because their frames may not fit its init segment. x264 writes
    its version, which FFmpeg does not report, into the frame.

    Raises:
        FFmpegError: FFmpeg failed.
    """
    with tempfile.TemporaryDirectory(prefix="streamwave-encoder-") as folder:
        frame = Path(folder, "frame.h264")
        argv = [
            ffmpeg_path, "-hide_banner", "-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", "color=black:size=64x64",
            "-frames:v", "1", "-c:v", "libx264", "-threads", "1", "-f", "h264", str(frame),
        ]  # fmt: skip
        Launcher(1).run(argv, what="one black frame", timeout_s=30)
        found = hashlib.sha256(frame.read_bytes())
    found.update(f"{VERSION}\n{ask(ffmpeg_path, '-version')}".encode())
    return found.hexdigest()[:12]
