"""One 1080p file on one to four equal workers: how much faster, and is every object the same as without workers?

Hosts without a worker encode something else meanwhile. Real machines don't share cores, but these may share one by its two
hardware threads, each of which is faster while the other one does nothing.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.cluster_site import Site, ended, make_footage, now, site
from streamwave.ffmpeg.locate import locate

#: Cores of each worker. Four workers leave a fifth of a machine with two cores to the run.
CORES = 0.4
#: Minimum speed relative to one worker, by number of workers.
TARGETS = {2: 1.85, 3: 2.6, 4: 3.4}


def main(seconds: int = 24, rounds: int = 1) -> list[str]:
    """Measure and print; returns what misses its target. 24 s are 12 chunks, the least that a file of up to 39 s becomes."""
    missed = []
    with tempfile.TemporaryDirectory(prefix="streamwave-bench-") as name:
        root = Path(name)
        clip = root / "clip.mp4"
        make_footage(clip, seconds)
        with site(root / "site", 4, CORES) as place:
            alone = ended(place.run(clip, elsewhere=False))
            times: dict[int, list[float]] = {count: [] for count in (1, 2, 3, 4)}
            for _ in range(rounds):
                for count in times:
                    place.start(*(str(number) for number in range(len(place.workers) + 1, count + 1)))
                    with _others(place, clip, count):
                        taken, first, same = _timed(place, clip, alone)
                    times[count].append(taken)
                    print(
                        f"  {count} workers: {taken:.1f} s ({first:.1f} s to the first FFmpeg); "
                        f"objects {'equal' if same else 'DIFFER'}",
                        flush=True,
                    )
                    if not same:
                        missed.append(f"objects of {count} workers differ from those without workers")
                for one in place.workers.values():
                    one.process.terminate()
                    one.process.wait(60)
                place.workers.clear()
    medians = {count: statistics.median(taken) for count, taken in times.items()}
    print(f"one file, {seconds} s of 1080p30, workers of {CORES:g} core, TLS; medians of {rounds}")
    print("workers    seconds   × real time   × one worker   at least")
    for count, taken in medians.items():
        ratio = medians[1] / taken
        print(f"{count:7} {taken:10.1f} {seconds / taken:13.2f} {ratio:14.2f} {TARGETS.get(count, 1):10.2f}")
        if ratio < TARGETS.get(count, 1):
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


def _timed(place: Site, clip: Path, alone: dict[str, bytes]) -> tuple[float, float, bool]:
    began = now()
    made = ended(place.run(clip))
    taken = now() - began
    return taken, place.starts(began)[0].at - began, made == alone
