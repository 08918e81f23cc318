"""What Dask adds to a chunk: time, CPU time and memory. The chunk is real, but FFmpeg is replaced by copies of its results.

Reference: the same chunk by the same ``Transcoder`` in the run's process, without workers.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import threading
import time
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


def main(count: int = 2000) -> list[str]:
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
        names = [str(number) for number in range(1, WORKERS + 1)]
        with site(root / "site", WORKERS, 1.0, tls=False, FFMPEG_PATH=str(ffmpeg)) as place:
            workers = place.machines.workers(*names)
            idle_mb = max(_memory(one.pid) for one in workers) / 1e6
            # The scheduler's own process; ``unshare`` and ``sh`` replace themselves by it.
            pids = [place.scheduler.process.pid, *(one.pid for one in workers)]
            address = f"tcp://{place.hosts[0].address}:{place.machines.port}"
            found = {}
            for kind, where in (("alone", ""), ("workers", address)):
                arguments = [where, str(ffmpeg), str(video), pids if where else [], count, WORKERS]
                run = place.machines.python(kind, "-m", __name__, json.dumps(arguments), PYTHONPATH=str(ROOT))
                assert run.process.wait(1800) == 0, run.log.read_text()
                found[kind] = json.loads(run.log.read_text().splitlines()[-1])
    return _report(found, count, idle_mb)


def _report(found: dict[str, Any], count: int, idle_mb: float) -> list[str]:
    beyond = sorted(1000 * one for one in found["workers"]["beyond"])
    p50, p95 = beyond[len(beyond) // 2], beyond[len(beyond) * 95 // 100]
    run, scheduler, *workers = (1000 * one for one in found["workers"]["cpu_s"])
    alone = 1000 * found["alone"]["cpu_s"][0]
    cpu = run + scheduler + sum(workers) - alone
    growth = found["workers"]["grown"][1] / 1e6
    print(f"{count} chunks, {WORKERS} workers with one slot each, no TLS; FFmpeg copies its results")
    print(f"  sent, begun, ended and fetched: median {p50:.0f} ms, 95 % {p95:.0f} ms (at most {MAX_P95_MS:.0f})")
    print(
        f"  CPU ms per chunk: run {run:.1f}, scheduler {scheduler:.1f}, workers {sum(workers):.1f}; without workers "
        f"{alone:.1f}; difference {cpu:.1f} (at most {MAX_CPU_MS:.0f}), ratio {(run + scheduler + sum(workers)) / alone:.2f}"
    )
    grown = ", ".join(f"{one / 1e6:+.1f}" for one in found["workers"]["grown"])
    print(f"  MB of memory: run, scheduler, workers grew by {grown} (scheduler at most {MAX_GROWTH_MB:+.0f})")
    print(f"  MB of a worker before its first chunk: {idle_mb:.0f} (at most {MAX_WORKER_MB:.0f})")
    figures = {
        "95 % of dispatches in ms": (p95, MAX_P95_MS), "CPU ms per chunk": (cpu, MAX_CPU_MS),
        "MB of the scheduler's growth": (growth, MAX_GROWTH_MB), "MB of a worker": (idle_mb, MAX_WORKER_MB),
    }  # fmt: skip
    return [f"{what}: {value:.1f} > {most:.0f}" for what, (value, most) in figures.items() if value > most]


if __name__ == "__main__":
    print(json.dumps(measure(*json.loads(sys.argv[1]))))
