"""CPU and time of ``streamwave transcode``, compared with one FFmpeg process that makes the same four encodes.

Passthrough is off, so that both encode everything. Runs of both alternate, and medians are compared. Only the CPU figures mean
anything on a machine that does other work too.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.measure import Cost, run
from streamwave.cli.demo import make_clip
from streamwave.config.settings import Settings
from streamwave.ffmpeg.locate import locate
from streamwave.pipeline.ladder import DEFAULT_LADDER

#: Figures that may miss their limit.
TARGET = 0
#: For a long clip: maximum ratios of CPU seconds and of time.
LONG_S, CPU_RATIO, TIME_RATIO = 300, 1.05, 1.00
#: For a short one: maximum difference in time, in seconds. Starting Prefect and Python takes as long for any clip.
SHORT_S, EXTRA_S = 10, 2.0
TIMEOUT_S = 3600
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


def main(rounds: int = 5, seconds: int = 0) -> int:
    """Measure and print both clips, or only the one of ``seconds``; return how many figures miss their limit."""
    settings = Settings.load()
    ffmpeg = locate(str(settings.ffmpeg_path) if settings.ffmpeg_path else None).path
    missed = 0
    for length_s in (SHORT_S, LONG_S):
        if seconds not in (0, length_s):
            continue
        reference, ours = _measure(ffmpeg, settings, length_s, rounds)
        print(f"{length_s} s of 1080p30, medians of {rounds}: FFmpeg {_shown(reference)}, StreamWave {_shown(ours)}")
        figures = [("CPU ratio", ours.cpu_s / reference.cpu_s, CPU_RATIO if length_s == LONG_S else None)]
        if length_s == LONG_S:
            figures.append(("time ratio", ours.wall_s / reference.wall_s, TIME_RATIO))
        else:
            figures.append(("seconds beyond FFmpeg", ours.wall_s - reference.wall_s, EXTRA_S))
        for name, value, limit in figures:
            print(f"  {name}: {value:.3f}" + ("" if limit is None else f" (at most {limit})"), flush=True)
            missed += limit is not None and value > limit
    return missed


def _measure(ffmpeg: str, settings: Settings, seconds: int, rounds: int) -> tuple[Cost, Cost]:
    """The medians of FFmpeg and of StreamWave."""
    with tempfile.TemporaryDirectory(prefix="streamwave-bench-") as name:
        root = Path(name)
        clip = root / "clip.mp4"
        make_clip(ffmpeg, clip, seconds, grain=GRAIN)
        pairs = []
        for number in range(rounds):
            reference = run(reference_argv(ffmpeg, clip, root, settings), timeout_s=TIMEOUT_S)
            pairs.append((reference, _ours(clip, root / "out")))
            print(f"round {number + 1}: FFmpeg {_shown(reference)}, StreamWave {_shown(pairs[-1][1])}", flush=True)
    return _median([pair[0] for pair in pairs]), _median([pair[1] for pair in pairs])


def _median(costs: Sequence[Cost]) -> Cost:
    return Cost(median(cost.cpu_s for cost in costs), median(cost.wall_s for cost in costs))


def _shown(cost: Cost) -> str:
    return f"{cost.cpu_s:.1f} CPU s in {cost.wall_s:.1f} s"


def _ours(clip: Path, output: Path) -> Cost:
    shutil.rmtree(output, ignore_errors=True)
    command = Path(sys.executable).with_name("streamwave")
    return run(
        [str(command), "transcode", str(clip), "--output", str(output)],
        timeout_s=TIMEOUT_S,
        env={**os.environ, "STREAMWAVE_PASSTHROUGH": "never"},
    )
