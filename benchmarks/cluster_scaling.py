"""One 1080p file on one to four equal workers: how much faster, and is every object the same as without workers?

Hosts without a worker encode something else meanwhile, as parts of a machine that is busy in any case. Whether that, or the
source's bit rate, changes the ratio is measured by ``causes``. The last column is what the ratio would be if a chunk had
taken the same CPU time in both runs: other load of this machine changes it less.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cluster_site import Site, ended, make_footage, now, site

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
    missed: list[str] = []
    with _clip(seconds, 6) as (root, clip), site(root / "site", 4, CORES) as place:
        alone = ended(place.run(clip, elsewhere=False))
        taken: dict[int, list[Taken]] = {count: [] for count in (1, 2, 3, 4)}
        for _ in range(rounds):
            _round(place, clip, alone, taken, busy=True)
    print(f"one file, {seconds} s of 1080p30, workers of {CORES:g} core, TLS; medians of {rounds}")
    print("workers    seconds   × real time   × one worker   at least   quota used   × at equal CPU time")
    wall, cpu, used = _medians(taken)
    for count, least in {1: 1.0, **TARGETS}.items():
        ratio = wall[1] / wall[count]
        print(
            f"{count:7} {wall[count]:10.1f} {seconds / wall[count]:13.2f} {ratio:14.2f} {least:10.2f} {used[count]:12.0%} "
            f"{count * used[count] / used[1]:21.2f}"
        )
        if ratio < least:
            missed.append(f"{count} workers: {ratio:.2f} × one worker")
    if not all(one.same for found in taken.values() for one in found):
        missed.append("objects differ from those without workers")
    return missed


def causes(seconds: int = 24, rounds: int = 1) -> list[str]:
    """Does the ratio depend on the other hosts' load, or on the source's bit rate? Each with one and with four workers.

    The product of the last two columns is the ratio.
    """
    found: dict[tuple[int, bool], dict[int, list[Taken]]] = {}
    for mbps in (6, 80):
        with _clip(seconds, mbps) as (root, clip), site(root / "site", 4, CORES) as place:
            alone = ended(place.run(clip, elsewhere=False))
            for number in range(rounds):
                for busy in (True, False) if number % 2 == 0 else (False, True):
                    taken = found.setdefault((mbps, busy), {count: [] for count in (1, 4)})
                    print(f"  source of {mbps} Mbit/s, hosts without a worker {'busy' if busy else 'idle'}")
                    _round(place, clip, alone, taken, busy=busy)
    print(f"one file, {seconds} s of 1080p30, one and four workers of {CORES:g} core, TLS; medians of {rounds}")
    print("Mbit/s   others   s of 1   s of 4   ratio   CPU s of 1   CPU s of 4   by CPU time   by use of the quota")
    for (mbps, busy), taken in found.items():
        wall, cpu, used = _medians(taken)
        print(
            f"{mbps:6} {'busy' if busy else 'idle':>8} {wall[1]:8.1f} {wall[4]:8.1f} {wall[1] / wall[4]:7.2f} {cpu[1]:12.1f} "
            f"{cpu[4]:12.1f} {cpu[1] / cpu[4]:13.2f} {4 * used[4] / used[1]:21.2f}"
        )
    return []


@contextmanager
def _clip(seconds: int, mbps: int) -> Iterator[tuple[Path, Path]]:
    with tempfile.TemporaryDirectory(prefix="streamwave-bench-") as name:
        clip = Path(name) / "clip.mp4"
        make_footage(clip, seconds, mbps=mbps)
        yield Path(name), clip


def _round(place: Site, clip: Path, alone: dict[str, bytes], taken: dict[int, list[Taken]], *, busy: bool) -> None:
    """Transcode ``clip`` with each number of workers, which are stopped afterwards."""
    for count, found in taken.items():
        place.start(*(str(number) for number in range(len(place.workers) + 1, count + 1)))
        with place.others_busy(clip) if busy else nullcontext():
            one = _timed(place, clip, alone)
        found.append(one)
        print(
            f"  {count} workers: {one.wall_s:.1f} s ({one.first_s:.1f} s to the first FFmpeg), {one.cpu_s:.1f} CPU s of "
            f"workers; objects {'equal' if one.same else 'DIFFER'}; load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
    for worker in place.workers.values():
        worker.process.terminate()
        worker.process.wait(60)
    place.workers.clear()


def _medians(taken: dict[int, list[Taken]]) -> tuple[dict[int, float], dict[int, float], dict[int, float]]:
    """Seconds, CPU seconds, and the used share of the quota, by number of workers."""
    wall = {count: statistics.median(one.wall_s for one in found) for count, found in taken.items()}
    cpu = {count: statistics.median(one.cpu_s for one in found) for count, found in taken.items()}
    return wall, cpu, {count: cpu[count] / (wall[count] * CORES * count) for count in taken}


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
