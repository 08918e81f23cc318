"""What faults and changes of a cluster cost: workers killed, cut off, joining and leaving, the scheduler away, the run ended.

FFmpeg encodes in real time at most, so that chunks last, and the figures are those of noticing and handing over.
"""

from __future__ import annotations

import json
import os
import random
import signal
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.cluster_site import Site, Start, ended, now, site
from tests.support.cli import LADDER
from tests.support.cluster import Program
from tests.support.media import make_clip
from tests.support.processes import alive, wait_for

WORKERS = 4
CORES = 0.4
#: A clip that becomes 19 chunks of two seconds.
FRAMES = 25 * 39
#: Maximum seconds.
RERUN_S, CUT_RERUN_S, SCHEDULER_S, END_S, JOIN_S = 1.0, 6.0, 10.0, 2.0, 10.0
CUT_S, AWAY_S = 30.0, 3.0
#: Shortest and longest time between two kills. A worker that is killed soon after its start is restarted later and later.
BETWEEN_S = (3.0, 8.0)


class Figures:
    """Figures of several rounds, and which of them miss their targets. ``report`` prints them."""

    def __init__(self) -> None:
        self._seconds: dict[str, tuple[float, list[float]]] = {}
        self._checks: dict[str, list[bool]] = {}

    def add(self, what: str, seconds: Sequence[float], most: float) -> None:
        """Seconds that something took, each time; ``most``: what it may take."""
        self._seconds.setdefault(what, (most, []))[1].extend(seconds)

    def check(self, what: str, good: bool) -> None:
        """Something that has to be true in every round."""
        self._checks.setdefault(what, []).append(good)

    def report(self) -> list[str]:
        """Print all, and return what misses its target."""
        missed = []
        for what, (most, seconds) in self._seconds.items():
            if not seconds:
                missed.append(f"{what}: never seen")
                continue
            print(
                f"  {what}: median {statistics.median(seconds):.2f} s, longest {max(seconds):.2f} s of {len(seconds)} "
                f"(at most {most:g})"
            )
            if max(seconds) > most:
                missed.append(f"{what}: {max(seconds):.2f} s > {most:g} s")
        for what, good in self._checks.items():
            print(f"  {what}: {'yes' if all(good) else 'NO'} ({good.count(True)} of {len(good)})")
            if not all(good):
                missed.append(f"{what}: no")
        return missed


@contextmanager
def _place(count: int = WORKERS) -> Iterator[tuple[Site, Path]]:
    with tempfile.TemporaryDirectory(prefix="streamwave-bench-") as name:
        root = Path(name)
        clip = make_clip(root / "clip.mp4", frames=FRAMES)
        with site(root / "site", WORKERS, CORES, STREAMWAVE_LADDER=json.dumps(LADDER)) as place:
            place.start(*(str(number) for number in range(1, count + 1)))
            yield place, clip.path


def _encoding(place: Site, count: int = 1) -> list[str]:
    return wait_for(lambda: found if len(found := place.busy()) >= count else [], f"{count} busy workers")


def ends(rounds: int = 5) -> list[str]:
    """Measure and print what a run leaves at workers when it is ended; returns what misses its target."""
    figures = Figures()
    with _place() as (place, clip):
        place.pace("-readrate 0.1")
        for number in (signal.SIGTERM, signal.SIGKILL):
            taken = []
            for _ in range(rounds):
                run = place.run(clip)
                _encoding(place, WORKERS)
                began = now()
                os.kill(run.process.pid, number)
                wait_for(place.idle, "the end of all FFmpeg processes", 30)
                taken.append(now() - began)
                run.process.wait(60)
            figures.add(f"{number.name} of a run until {WORKERS} workers have no FFmpeg and no scratch", taken, END_S)
    return figures.report()


def main(rounds: int = 3, seed: int = 1) -> list[str]:
    """Measure and print faults of workers and of the scheduler; returns what misses its target."""
    figures = Figures()
    chance = random.Random(seed)
    with _place() as (place, clip):
        alone = ended(place.run(clip, elsewhere=False))
        for number in range(rounds):
            for part in (_joins_and_drains, _kills, _scheduler_away, _cut):
                began = now()
                part(place, clip, alone, figures, chance)
                print(f"  round {number + 1}:{part.__name__.replace('_', ' ')} took {now() - began:.0f} s", flush=True)
    return figures.report()


def _kills(place: Site, clip: Path, alone: dict[str, bytes], figures: Figures, chance: random.Random) -> None:
    """SIGKILL of a worker in mid-chunk while one of the others is free."""
    place.pace("-readrate 0.5")
    began = now()
    run = place.run(clip, in_flight=2)
    kills: list[tuple[float, set[int]]] = []
    while run.process.poll() is None:
        time.sleep(chance.uniform(*BETWEEN_S))
        busy = [name for name in place.busy() if place.workers[name].log.read_text().endswith("ready\n")]
        if busy and len(place.starts(began)) > 2:
            victim = chance.choice(busy)
            current = [one.chunk for one in place.starts(began) if one.worker == victim][-1:]
            kills.append((now(), set(current)))
            place.workers[victim].kill()
            _wait_until_back(place.workers[victim])
    same = ended(run) == alone
    starts = place.starts(began)
    again = sum(count - 1 for count in Counter(one.chunk for one in starts).values())
    taken = [after[0].at - at for at, chunks in kills for chunk in chunks
             if (after := [one for one in starts if one.chunk == chunk and one.at > at])]  # fmt: skip
    figures.add("SIGKILL of a worker in mid-chunk until the chunk is encoded elsewhere", taken, RERUN_S)
    figures.check("at most one chunk encoded again per kill", again <= len(kills))
    figures.check("killed workers: objects as without workers, byte for byte", same)


def _wait_until_back(worker: Program) -> None:
    wait_for(lambda: is_up(worker), "the killed worker")


def is_up(worker: Program) -> bool:
    """Whether a worker's process runs and is connected."""
    return worker.log.read_text().endswith("ready\n") and alive(worker.pid)


def _joins_and_drains(
    place: Site, clip: Path, alone: dict[str, bytes], figures: Figures, chance: random.Random
) -> None:
    place.pace("-readrate 0.4")
    for name in ("3", "4"):
        _leave(place.workers.pop(name))
    began = now()
    run = place.run(clip)
    _encoding(place, 2)
    taken = []
    for name in ("3", "4"):
        before = now()
        place.begin(name)
        taken.append(_first_start(place, name, before).at - before)
    figures.add("start of a worker until it encodes", taken, JOIN_S)
    leaving = place.workers["1"]
    before = now()
    _leave(leaving)
    print(
        f"  a worker that drained ended after {now() - before:.2f} s, at most a chunk's 5 s and Dask's own", flush=True
    )
    same = ended(run) == alone
    counts = Counter(one.chunk for one in place.starts(began))
    figures.check("no chunk encoded twice because of workers that join and drain", set(counts.values()) == {1})
    figures.check("workers join and drain: objects as without workers, byte for byte", same)
    place.start("1")


def _first_start(place: Site, name: str, since: float) -> Start:
    def found() -> list[Start]:
        return [one for one in place.starts(since) if one.worker == name]

    return wait_for(found, f"the first chunk at worker {name}")[0]


def _leave(worker: Program) -> None:
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(120) == 0, worker.log.read_text()


def _scheduler_away(place: Site, clip: Path, alone: dict[str, bytes], figures: Figures, chance: random.Random) -> None:
    place.pace("-readrate 0.4")
    run = place.run(clip)
    _encoding(place, WORKERS)
    gone = now()
    os.kill(place.scheduler.process.pid, signal.SIGKILL)
    place.scheduler.process.wait(20)
    time.sleep(AWAY_S)
    back = now()
    place.scheduler = place.machines.scheduler(f"scheduler-{back:.0f}")
    first = wait_for(lambda: place.starts(back), "encoding again", 120)[0].at
    figures.add(
        f"scheduler away for {AWAY_S:g} s: from its death until a chunk is encoded", [first - gone], SCHEDULER_S
    )
    figures.check("scheduler away: objects as without workers, byte for byte", ended(run) == alone)


def _cut(place: Site, clip: Path, alone: dict[str, bytes], figures: Figures, chance: random.Random) -> None:
    place.pace("-readrate 0.15")
    began = now()
    run = place.run(clip, in_flight=3)
    victim = _encoding(place, 3)[0]
    chunk = [one.chunk for one in place.starts(began) if one.worker == victim][-1]
    cable = f"cable{victim}"
    place.hosts[0].run("ip", "link", "set", cable, "down")
    gone = now()
    again = wait_for(lambda: [one for one in place.starts(gone) if one.chunk == chunk], "the chunk elsewhere", 60)[0]
    figures.add(f"link cut for {CUT_S:g} s: until its chunk is encoded elsewhere", [again.at - gone], CUT_RERUN_S)
    time.sleep(max(0.0, gone + CUT_S - now()))
    readied = place.workers[victim].log.read_text().count("ready")
    place.hosts[0].run("ip", "link", "set", cable, "up")
    back = now()
    place.pace("-readrate 0.4")

    def used() -> bool:
        return run.process.poll() is not None or any(one.worker == victim for one in place.starts(back))

    wait_for(used, "the worker that comes back", 120)
    ready = place.workers[victim].log.read_text().count("ready") > readied
    print(f"  the worker that comes back is connected again: {ready}; encodes {now() - back:.2f} s later", flush=True)
    figures.check("it is used again", any(one.worker == victim for one in place.starts(back)))
    figures.check("link cut: objects as without workers, byte for byte", ended(run) == alone)
