"""One 1080p file on one to four equal workers: how much faster, and is every object the same as without workers?

Hosts without a worker encode something else meanwhile. Real machines don't share cores, but these may share one by its two
hardware threads, each of which is faster while the other one does nothing. The last column is what the ratio would be if a
chunk had taken the same CPU time in both runs: other load of this machine changes it less.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cluster_site import Site, ended, make_footage, now, site
from streamwave.ffmpeg.locate import locate

#: Cores of each worker. Four workers leave a fifth of a machine with two cores to the run.
CORES = 0.4
#: Minimum speed relative to one worker, by number of workers.
TARGETS = {2: 1.85, 3: 2.6, 4: 3.4}


@dataclass(frozen=True)
class Taken:
    """What a run took: seconds, seconds to its first FFmpeg, CPU seconds of workers; whether its objects are the ``same``."""

    wall_s: float
    first_s: float
    cpu_s: float
    same: bool


def main(seconds: int = 24, rounds: int = 1) -> list[str]:
    """Measure and print; returns what misses its target. 24 s are 12 chunks, the least that a file of up to 39 s becomes."""
    missed = []
    with tempfile.TemporaryDirectory(prefix="streamwave-bench-") as name:
        root = Path(name)
        clip = root / "clip.mp4"
        make_footage(clip, seconds)
        with site(root / "site", 4, CORES) as place:
            alone = ended(place.run(clip, elsewhere=False))
            taken: dict[int, list[Taken]] = {count: [] for count in (1, 2, 3, 4)}
            for _ in range(rounds):
                for count in taken:
                    place.start(*(str(number) for number in range(len(place.workers) + 1, count + 1)))
                    with _others(place, clip, count):
                        one = _timed(place, clip, alone)
                    taken[count].append(one)
                    print(
                        f"  {count} workers: {one.wall_s:.1f} s ({one.first_s:.1f} s to the first FFmpeg), "
                        f"{one.cpu_s:.1f} CPU s of workers; objects {'equal' if one.same else 'DIFFER'}; "
                        f"load {os.getloadavg()[0]:.1f}",
                        flush=True,
                    )
                    if not one.same:
                        missed.append(f"objects of {count} workers differ from those without workers")
                for worker in place.workers.values():
                    worker.process.terminate()
                    worker.process.wait(60)
                place.workers.clear()
    print(f"one file, {seconds} s of 1080p30, workers of {CORES:g} core, TLS; medians of {rounds}")
    print("workers    seconds   × real time   × one worker   at least   quota used   × at equal CPU time")
    wall = {count: statistics.median(one.wall_s for one in found) for count, found in taken.items()}
    cpu = {count: statistics.median(one.cpu_s for one in found) for count, found in taken.items()}
    used = {count: cpu[count] / (wall[count] * CORES * count) for count in taken}
    for count, least in {1: 1.0, **TARGETS}.items():
        ratio = wall[1] / wall[count]
        print(
            f"{count:7} {wall[count]:10.1f} {seconds / wall[count]:13.2f} {ratio:14.2f} {least:10.2f} {used[count]:12.0%} "
            f"{count * used[count] / used[1]:21.2f}"
        )
        if ratio < least:
            missed.append(f"{count} workers: {ratio:.2f} × one worker")
    return missed


@contextmanager
def _others(place: Site, clip: Path, count: int) -> Iterator[None]:
    """Keep the hosts from the number ``count`` on busy."""
    argv = [locate().path, "-v", "quiet", "-nostdin", "-stream_loop", "-1", "-i", str(clip), "-an", "-threads", "1"]
    argv += ["-c:v", "libx264", "-preset", "superfast", "-threads", "1", "-f", "null", "-"]
    with ExitStack() as stack:
        for host in list(place.machines.hosts.values())[count + 1 :]:
            process = stack.enter_context(subprocess.Popen(host.command(*argv), stdin=subprocess.DEVNULL))
            stack.callback(process.kill)
        yield


def _timed(place: Site, clip: Path, alone: dict[str, bytes]) -> Taken:
    before, began = _cpu_s(place), now()
    made = ended(place.run(clip))
    wall_s = now() - began
    return Taken(wall_s, place.starts(began)[0].at - began, _cpu_s(place) - before, made == alone)


def _cpu_s(place: Site) -> float:
    """CPU seconds of all workers and their FFmpeg processes."""
    total = 0
    for one in place.workers.values():
        fields = Path(f"/proc/{one.pid}/stat").read_text().rpartition(")")[2].split()
        total += sum(int(field) for field in fields[11:15])
    return total / os.sysconf("SC_CLK_TCK")
