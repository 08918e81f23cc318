"""CPU seconds of ``streamwave transcode``, divided by those of one FFmpeg process that makes the same four encodes.

Passthrough is off, so that both encode everything.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import Cost, run
from streamwave.cli.demo import make_clip
from streamwave.config.settings import Settings
from streamwave.ffmpeg.locate import locate
from streamwave.pipeline.ladder import DEFAULT_LADDER

#: Maximum ratio.
TARGET = 1.25
TIMEOUT_S = 1200
#: Noise added to the test pattern, so that it costs about as much as camera footage.
GRAIN = 10


def reference_argv(ffmpeg: str, clip: Path, folder: Path, settings: Settings) -> Sequence[str]:
    """One process, one decode, the default ladder with the pipeline's settings, and one audio encode."""
    rungs = DEFAULT_LADDER.rungs
    graph = f"[0:v]fps=30,split={len(rungs)}" + "".join(f"[s{i}]" for i in range(len(rungs)))
    for i, rung in enumerate(rungs):
        width = 2 * round(rung.short_side * 16 / 9 / 2)
        graph += f";[s{i}]scale={width}:{rung.short_side}:flags=bicubic,format=yuv420p[v{i}]"
    argv = [ffmpeg, "-hide_banner", "-nostdin", "-loglevel", "error", "-y", "-threads", str(settings.encoder_threads)]
    argv += ["-i", str(clip), "-filter_complex", graph]
    for i, rung in enumerate(rungs):
        argv += [
            "-map", f"[v{i}]", "-c:v", "libx264", "-preset", settings.preset, "-profile:v", "high",
            "-crf", str(settings.crf), "-maxrate", f"{rung.max_kbps}k", "-bufsize", f"{rung.max_kbps}k",
            "-threads", str(settings.encoder_threads), "-g", "60", "-sc_threshold", "0", str(folder / f"{rung.name}.mp4"),
        ]  # fmt: skip
    return [*argv, "-map", "0:a", "-c:a", "aac", "-b:a", "128k", str(folder / "audio.mp4")]


def main(seconds: int = 60, rounds: int = 3) -> float:
    """Measure, print and return the median ratio."""
    settings = Settings.load()
    ffmpeg = locate(str(settings.ffmpeg_path) if settings.ffmpeg_path else None).path
    with tempfile.TemporaryDirectory(prefix="streamwave-bench-") as name:
        root = Path(name)
        clip = root / "clip.mp4"
        make_clip(ffmpeg, clip, seconds, grain=GRAIN)
        ratios = []
        for number in range(rounds):
            reference = run(reference_argv(ffmpeg, clip, root, settings), timeout_s=TIMEOUT_S)
            ours = _ours(clip, root / "out")
            ratios.append(ours.cpu_s / reference.cpu_s)
            print(
                f"round {number + 1}: FFmpeg {reference.cpu_s:.1f} CPU s in {reference.wall_s:.1f} s, "
                f"StreamWave {ours.cpu_s:.1f} CPU s in {ours.wall_s:.1f} s, ratio {ratios[-1]:.3f}",
                flush=True,
            )
    median = statistics.median(ratios)
    print(f"CPU ratio, {seconds} s of 1080p30, median of {rounds}: {median:.3f} (at most {TARGET})")
    return median


def _ours(clip: Path, output: Path) -> Cost:
    shutil.rmtree(output, ignore_errors=True)
    command = Path(sys.executable).with_name("streamwave")
    return run(
        [str(command), "transcode", str(clip), "--output", str(output)],
        timeout_s=TIMEOUT_S,
        env={**os.environ, "STREAMWAVE_PASSTHROUGH": "never"},
    )
