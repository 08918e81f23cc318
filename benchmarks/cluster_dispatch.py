"""What Dask adds to a chunk: time, CPU time and memory. The chunk is real, but FFmpeg is replaced by copies of its results.

Reference: the same chunk by the same ``Transcoder`` in the run's process, without workers.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.cluster_site import make_footage, site
from streamwave.cluster.cluster import Cluster
from streamwave.cluster.endpoint import Endpoint
from streamwave.cluster.order import Order, Outcome
from streamwave.ffmpeg.commands import EncoderSettings
from streamwave.ffmpeg.locate import locate
from streamwave.ffmpeg.process import Launcher
from streamwave.ffmpeg.transcode import Transcoder
from streamwave.model import Chunk, Rendition
from streamwave.pipeline.ladder import DEFAULT_LADDER
from tests.support.cli import ROOT

#: Milliseconds (95th percentile), CPU milliseconds per chunk, MB that the scheduler may grow, MB of a worker before FFmpeg.
MAX_P95_MS, MAX_CPU_MS, MAX_GROWTH_MB, MAX_WORKER_MB = 100.0, 20.0, 10.0, 120.0
#: Chunks before measuring, so that everything is imported and connected.
WARM_UP = 100
WORKERS = 2
FRAMES = 60


class Timed(Cluster):
    """Notes how many seconds each chunk took beyond what its worker needed to encode it."""

    def __init__(self, endpoint: Endpoint, ffmpeg_path: str) -> None:
        super().__init__(endpoint, ffmpeg_path)
        self.beyond: list[float] = []

    def _perform(self, order: Order, video: bytes, launcher: Launcher, what: str) -> Outcome | None:
        began = time.monotonic()
        outcome = super()._perform(order, video, launcher, what)
        if outcome is not None:
            assert outcome.error is None, outcome.error
            self.beyond.append(time.monotonic() - began - outcome.seconds)
        return outcome


def renditions() -> tuple[Rendition, ...]:
    """The default ladder."""
    return tuple(
        Rendition(
            name=one.name, kind="video", width=2 * round(one.short_side * 8 / 9), height=one.short_side,
            max_bps=one.max_kbps * 1000,
        )
        for one in DEFAULT_LADDER.rungs
    )  # fmt: skip


def chunk_of(video: Path, number: int) -> Chunk:
    """The chunk in ``video``, as chunk ``number``."""
    return Chunk(
        number=number, rate=30, first_frame=0, frame_count=FRAMES, segments=(FRAMES,), video_path=str(video), audio_path=None
    )  # fmt: skip


def encoder() -> EncoderSettings:
    """The default settings of a file."""
    return EncoderSettings("superfast", 23, 1)


def stub(folder: Path, results: Path) -> Path:
    """A replacement for FFmpeg that copies ``results`` instead of encoding a chunk."""
    path = folder / "copying-ffmpeg"
    path.write_text(
        f'#!/bin/sh\ncase "$*" in *.mkv*) for one; do case "$one" in *.part) name="${{one##*/}}"; '
        f'cp "{results}/${{name%%.*}}.mp4" "$one" ;; esac; done; exit 0 ;; esac\nexec "{locate().path}" "$@"\n'
    )
    path.chmod(0o755)
    return path


def measure(address: str, ffmpeg: str, video: str, pids: list[int], count: int, at_a_time: int) -> dict[str, Any]:
    """Let workers, or this process if ``address`` is empty, encode ``count`` chunks; ``at_a_time`` from as many threads."""
    launcher = Launcher(at_a_time)
    cluster = Timed(Endpoint(address=address), ffmpeg) if address else None
    processes = [os.getpid(), *pids]
    with tempfile.TemporaryDirectory() as work, ThreadPoolExecutor(at_a_time) as threads:
        transcoder = Transcoder(ffmpeg, encoder(), launcher, Path(work), 60, elsewhere=cluster)
        running = threading.BoundedSemaphore(at_a_time)

        def one(number: int) -> None:
            with running:
                chunk = chunk_of(Path(video), number)
                transcoder.encode(chunk, renditions())
                shutil.rmtree(transcoder.result_path(chunk, "").parent)  # as after the chunk is stored

        list(threads.map(one, range(WARM_UP)))
        if cluster is not None:
            cluster.beyond.clear()
        cpu, memory = [_cpu_s(process) for process in processes], [_memory(process) for process in processes]
        began = time.monotonic()
        list(threads.map(one, range(WARM_UP, WARM_UP + count)))
        seconds = time.monotonic() - began
        spent = [(_cpu_s(process) - before) / count for process, before in zip(processes, cpu, strict=True)]
        grown = [_memory(process) - before for process, before in zip(processes, memory, strict=True)]
    if cluster is not None:
        cluster.close()
    return {"cpu_s": spent, "grown": grown, "beyond": cluster.beyond if cluster else [], "each_s": seconds / count}


def _cpu_s(pid: int) -> float:
    """CPU seconds of a process itself, without its FFmpeg processes."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(pid: int) -> int:
    """Bytes in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(count: int = 2000, rounds: int = 3) -> list[str]:
    """Measure and print; returns what misses its target."""
    with tempfile.TemporaryDirectory(prefix="streamwave-bench-") as name:
        root = Path(name)
        results = root / "results"
        clip, video = root / "clip.mp4", root / "000000.mkv"
        make_footage(clip, 2)
        Launcher(1).run(
            [locate().path, "-v", "error", "-i", str(clip), "-map", "0:v", "-c", "copy", str(video)],
            what="the chunk", timeout_s=60,
        )  # fmt: skip
        real = Transcoder(locate().path, encoder(), Launcher(1), results, 60)
        real.encode(chunk_of(video, 0), renditions())
        ffmpeg = stub(root, results / "000000")
        sizes = sum(path.stat().st_size for path in (results / "000000").iterdir())
        print(f"  a chunk has {video.stat().st_size / 1e6:.1f} MB, its results {sizes / 1e6:.1f} MB", flush=True)
        found = [_round(root / f"round{number}", ffmpeg, video, count) for number in range(rounds)]
    return _report(found, count)


def _round(folder: Path, ffmpeg: Path, video: Path, count: int) -> dict[str, Any]:
    """The same measured with a new scheduler and new workers, and alone."""
    names = [str(number) for number in range(1, WORKERS + 1)]
    with site(folder, WORKERS, 1.0, tls=False, FFMPEG_PATH=str(ffmpeg)) as place:
        workers = place.machines.workers(*names)
        found: dict[str, Any] = {"idle": max(_memory(one.pid) for one in workers)}
        # The scheduler's own process; ``unshare`` and ``sh`` replace themselves by it.
        pids = [place.scheduler.process.pid, *(one.pid for one in workers)]
        address = f"tcp://{place.hosts[0].address}:{place.machines.port}"
        for kind, where in (("alone", ""), ("workers", address)):
            arguments = [where, str(ffmpeg), str(video), pids if where else [], count, WORKERS]
            run = place.machines.python(kind, "-m", __name__, json.dumps(arguments), PYTHONPATH=str(ROOT))
            assert run.process.wait(1800) == 0, run.log.read_text()
            found[kind] = json.loads(run.log.read_text().splitlines()[-1])
    return found


def _report(rounds: Sequence[dict[str, Any]], count: int) -> list[str]:
    """Print the median of every figure over the rounds, and return what misses its target."""
    print(
        f"{count} chunks, {WORKERS} workers with one slot each, no TLS; FFmpeg copies its results; medians of {len(rounds)}"
    )
    rows: dict[str, tuple[list[float], float | None]] = {
        "sent, begun, ended and fetched, median, ms": ([_share(one, 50) for one in rounds], None),
        "the same, 95 %, ms": ([_share(one, 95) for one in rounds], MAX_P95_MS),
        "CPU ms per chunk, run": ([1000 * one["workers"]["cpu_s"][0] for one in rounds], None),
        "CPU ms per chunk, scheduler": ([1000 * one["workers"]["cpu_s"][1] for one in rounds], None),
        "CPU ms per chunk, workers": ([1000 * sum(one["workers"]["cpu_s"][2:]) for one in rounds], None),
        "CPU ms per chunk without workers": ([1000 * one["alone"]["cpu_s"][0] for one in rounds], None),
        "CPU ms per chunk, difference": ([_more_cpu_ms(one) for one in rounds], MAX_CPU_MS),
        "MB that the run grew by": ([one["workers"]["grown"][0] / 1e6 for one in rounds], None),
        "MB that the scheduler grew by": ([one["workers"]["grown"][1] / 1e6 for one in rounds], MAX_GROWTH_MB),
        "MB that a worker grew by": ([max(one["workers"]["grown"][2:]) / 1e6 for one in rounds], None),
        "MB of a worker before its first chunk": ([one["idle"] / 1e6 for one in rounds], MAX_WORKER_MB),
    }
    missed = []
    for what, (values, most) in rows.items():
        median = statistics.median(values)
        each = ", ".join(f"{value:.1f}" for value in values)
        print(f"  {what:44} {median:7.1f}  ({each}){'' if most is None else f'  at most {most:.0f}'}")
        if most is not None and median > most:
            missed.append(f"{what}: {median:.1f} > {most:.0f}")
    return missed


def _share(one: dict[str, Any], percent: int) -> float:
    """This percentile of the milliseconds beyond the encode."""
    beyond = sorted(1000 * seconds for seconds in one["workers"]["beyond"])
    return beyond[len(beyond) * percent // 100]


def _more_cpu_ms(one: dict[str, Any]) -> float:
    """CPU milliseconds per chunk of all processes, less those of a run without workers."""
    return 1000 * (sum(one["workers"]["cpu_s"]) - float(one["alone"]["cpu_s"][0]))


if __name__ == "__main__":
    print(json.dumps(measure(*json.loads(sys.argv[1]))))
