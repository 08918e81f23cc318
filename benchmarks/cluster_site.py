"""Slow machines that share nothing but a network, and what they do: for the benchmarks of ``cluster``."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.quota import slow_host
from benchmarks.vod_cpu import GRAIN, TIMEOUT_S
from streamwave.cli.demo import make_clip
from streamwave.ffmpeg.locate import locate
from streamwave.ffmpeg.process import Launcher
from streamwave.pipeline.ladder import DEFAULT_LADDER
from tests.support.cluster import Machines, Program, machines
from tests.support.hosts import Host, switched_hosts
from tests.support.published import files

RUN = "import streamwave, sys; streamwave.transcode(sys.argv[1], 'out', overwrite=True)"


def now() -> float:
    """Seconds since the machine was started, as in /proc/uptime."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True)
class Start:
    """FFmpeg was started for a chunk, ``at`` seconds after the machine, by a worker."""

    at: float
    chunk: int
    worker: str


@dataclass
class Site:
    """A scheduler at the first of ``hosts``, where runs are started too, and workers by name at the others.

    Each worker has one slot, a part of a core, and an FFmpeg of its own.
    """

    machines: Machines
    hosts: list[Host]
    scheduler: Program
    workers: dict[str, Program] = field(default_factory=dict)
    _runs: int = 0

    def start(self, *names: str) -> None:
        """Start workers at once, and wait until they are connected."""
        self.workers |= {name: self.begin(name) for name in names}
        for name in names:
            self.workers[name].says("ready")

    def begin(self, name: str) -> Program:
        """Start a worker."""
        folder = self.machines.folder / name
        folder.mkdir(exist_ok=True)
        path = folder / "noting-ffmpeg"
        path.write_text(
            f'#!/bin/sh\ncase "$*" in *.mkv*) read -r up idle </proc/uptime; echo "$up $*" >>"{folder}/starts"\n'
            f'read -r rate <"{self.machines.folder}/rate"; exec "{locate().path}" $rate "$@" ;; esac\n'
            f'exec "{locate().path}" "$@"\n'
        )
        path.chmod(0o755)
        program = self.machines.start(name, "worker", self.machines.address, FFMPEG_PATH=str(path))
        self.workers[name] = program
        return program

    def pace(self, options: str) -> None:
        """Let FFmpeg be started with ``options`` for chunks from now on."""
        (self.machines.folder / "rate").write_text(options + "\n")

    def starts(self, since: float = 0.0) -> list[Start]:
        """All starts of FFmpeg for chunks, in order."""
        found = []
        for name in self.workers:
            path = self.machines.folder / name / "starts"
            for line in path.read_text().splitlines() if path.exists() else ():
                at, chunk = float(line.split()[0]), re.search(r"-i \S+/(\d+)\.mkv", line)
                if chunk is not None and at >= since - 0.01:
                    found.append(Start(at, int(chunk[1]), name))
        return sorted(found, key=lambda one: one.at)

    def run(self, clip: Path, *, elsewhere: bool = True, in_flight: int = 16) -> Program:
        """Start a run that transcodes ``clip`` in a folder of its own; without ``elsewhere``, without workers."""
        self._runs += 1
        extra = {"STREAMWAVE_MAX_CHUNKS_IN_FLIGHT": str(in_flight)}
        if elsewhere:
            extra["STREAMWAVE_TASK_RUNNER"] = self.machines.address
        return self.machines.python(f"run{self._runs}", "-c", RUN, str(clip), **extra)

    def busy(self) -> list[str]:
        """Workers that have an FFmpeg for a chunk."""
        return [name for name, one in self.workers.items() if one.cli.ffmpegs(".mkv")]

    def idle(self) -> bool:
        """Whether no worker has an FFmpeg or scratch files."""
        return not any(one.cli.ffmpegs(".mkv") or one.scratch() for one in self.workers.values())

    @contextmanager
    def others_busy(self, clip: Path) -> Iterator[None]:
        """Keep the hosts without a worker busy: by encoding ``clip``."""
        argv = [locate().path, "-v", "quiet", "-nostdin", "-stream_loop", "-1", "-i", str(clip), "-an", "-threads", "1"]
        argv += ["-c:v", "libx264", "-preset", "superfast", "-threads", "1", "-f", "null", "-"]
        with ExitStack() as stack:
            for name, host in self.machines.hosts.items():
                if name and name not in self.workers:
                    process = stack.enter_context(subprocess.Popen(host.command(*argv), stdin=subprocess.DEVNULL))
                    stack.callback(process.kill)
            yield


def make_footage(path: Path, seconds: int, rate: int = 30, mbps: int = 6, height: int = 1080) -> None:
    """Generate video as publishers send it: ``rate`` pictures a second, and a keyframe every two seconds."""
    raw = path.with_suffix(".raw.mp4")
    make_clip(locate().path, raw, seconds, grain=GRAIN)
    argv = [locate().path, "-v", "error", "-nostdin", "-i", str(raw), "-c:a", "copy", "-c:v", "libx264", "-preset"]
    argv += ["superfast", "-b:v", f"{mbps}M", "-maxrate", f"{mbps}M", "-bufsize", f"{mbps}M", "-r", str(rate)]
    argv += ["-vf", f"scale=-2:{height}"] if height != 1080 else []
    argv += ["-g", str(2 * rate), "-sc_threshold", "0", str(path)]
    Launcher(1).run(argv, what="the footage", timeout_s=TIMEOUT_S)
    raw.unlink()


def ended(run: Program, timeout_s: float = 900) -> dict[str, bytes]:
    """Wait for the end of a run, and return the objects that it has made."""
    try:
        assert run.process.wait(timeout_s) == 0, run.log.read_text()
    except subprocess.TimeoutExpired:
        raise AssertionError(run.log.read_text()) from None
    return files(run.cli.folder / "out")


@contextmanager
def site(folder: Path, count: int, cores: float, *, tls: bool = True, **extra: str) -> Iterator[Site]:
    """``count`` hosts for workers called 1, 2, …, each with ``cores``; no worker is started."""
    settings = {
        "STREAMWAVE_FFMPEG_SLOTS": "1",
        "STREAMWAVE_ENCODER_THREADS": "1",
        "STREAMWAVE_PASSTHROUGH": "never",
        "STREAMWAVE_LADDER": json.dumps(DEFAULT_LADDER.model_dump(mode="json")),
        "STREAMWAVE_CLUSTER_KEYS": str(folder / "keys"),
        **({} if tls else {"STREAMWAVE_CLUSTER_PLAIN": "true"}),
        **extra,
    }
    with ExitStack() as stack:
        hosts = stack.enter_context(switched_hosts(count + 1))
        slow = [stack.enter_context(slow_host(host, cores)) for host in hosts[1:]]
        named: dict[str, Host] = {str(number): host for number, host in enumerate(slow, 1)}
        some = stack.enter_context(machines(folder, {"": hosts[0], **named}, **settings))
        if tls:
            assert some.cli("keys").run("cluster", "keys").code == 0
        else:
            some.address = some.address.replace("dask://", "tcp://")
        found = Site(some, hosts, some.scheduler())
        found.pace("")
        yield found
