"""Adaptive output made by FFmpeg's own muxer: a stand-in that shows what the players and the harness can do."""

from __future__ import annotations

import subprocess
from pathlib import Path


def make_dash(target: Path, seconds: int = 6, rate: int = 25, segment_seconds: int = 2) -> Path:
    """Write ``manifest.mpd``, ``master.m3u8`` and segments of a test picture and a tone in two sizes; the directory."""
    target.mkdir(parents=True, exist_ok=True)
    frames = str(rate * segment_seconds)
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y"]
    command += ["-f", "lavfi", "-i", f"testsrc2=size=320x180:rate={rate}:duration={seconds}"]
    # A little shorter than the picture: FFmpeg's muxer would put the rest of a longer one into a segment of a few
    # samples, after which hls.js never signals the end of the stream.
    command += ["-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=48000:duration={seconds - 0.03:.2f}"]
    command += ["-filter_complex", "[0:v]split[large][half];[half]scale=160:90[small]"]
    command += ["-map", "[large]", "-map", "[small]", "-map", "1:a"]
    command += ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-bf", "0"]
    command += ["-g", frames, "-keyint_min", frames, "-sc_threshold", "0"]
    command += ["-b:v:0", "300k", "-b:v:1", "100k", "-c:a", "aac", "-b:a", "64k"]
    command += ["-f", "dash", "-seg_duration", str(segment_seconds), "-use_template", "1", "-use_timeline", "1"]
    command += ["-adaptation_sets", "id=0,streams=v id=1,streams=a"]
    command += ["-init_seg_name", "$RepresentationID$-init.mp4"]
    command += ["-media_seg_name", "$RepresentationID$-$Number%05d$.m4s"]
    command += ["-hls_playlist", "1", str(target / "manifest.mpd")]
    subprocess.run(command, check=True, timeout=60)
    return target
