"""Prefect and a live stream on workers: its server is away, and a person cancels the run or somebody kills it."""

from __future__ import annotations

import json
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.cluster_faults import CORES, END_S, WORKERS, Figures
from benchmarks.cluster_live_site import LiveSite, Published, live_site
from benchmarks.cluster_site import now
from streamwave.spool.broadcast import BroadcastSpool
from tests.support.cli import LADDER
from tests.support.live import is_static, periods, picture_numbers
from tests.support.media import Clip, make_clip
from tests.support.processes import alive, wait_for

#: How long the stream runs before the first absence, and between and after them, to know its usual lag.
BEFORE_S, BETWEEN_S = 40.0, 30.0
#: The stream begins with a run that has to start, and with what has arrived meanwhile.
START_S = 20.0
#: A chunk is late if its lag is more than this above the longest lag while the server is there.
LATE_S = 1.0
#: Shorter than an absence, so that one child flow run ends and the next one begins in each.
WINDOW_S = 30


@contextmanager
def _site() -> Iterator[tuple[LiveSite, Clip]]:
    with (
        tempfile.TemporaryDirectory(prefix="streamwave-bench-") as name,
        live_site(
            Path(name), WORKERS, CORES, STREAMWAVE_LADDER=json.dumps(LADDER), STREAMWAVE_SEGMENT_SECONDS="2",
            STREAMWAVE_WINDOW_S=str(WINDOW_S),
        ) as site,
    ):  # fmt: skip
        site.place.start(*(str(number) for number in range(1, WORKERS + 1)))
        # Without B-frames, so that a publisher that ends leaves no gap.
        yield site, make_clip(Path(name) / "clip.mp4", frames=800, options=("-bf", "0"))


def away(seconds: float = 60) -> list[str]:
    """Let the server be stopped, and be dead, for so long. Measure and print; returns what misses its target."""
    figures = Figures()
    with _site() as (site, clip):
        site.place.pace("-readrate 0.4")
        key = site.running.add_stream("away")
        spans: dict[str, tuple[float, float]] = {}
        with site.running.publish(clip, key, loop=True):
            spool = site.running.broadcast("away")
            time.sleep(BEFORE_S)
            gone = time.time()
            site.server.send(signal.SIGSTOP)
            time.sleep(seconds)
            site.server.send(signal.SIGCONT)
            spans["stopped"] = gone, time.time()
            time.sleep(BETWEEN_S)
            gone = time.time()
            site.server.kill()
            time.sleep(seconds)
            spans["dead"] = gone, time.time()
            site.server.start()
            time.sleep(BETWEEN_S)
        root = site.running.finished(spool)
        _late(site.chunks(spool), spans, figures)
        assert is_static(root)
        numbers = [number for period in periods(root) for number in picture_numbers(period, clip.rate)]
        wrong = [at for at, number in enumerate(numbers) if number != at % clip.frames]
        print(f"  {len(numbers)} frames in every rendition; first wrong one: {wrong[:1] or 'none'}")
        figures.check("every frame exactly once", not wrong)
    return figures.report()


def _late(chunks: list[Published], spans: dict[str, tuple[float, float]], figures: Figures) -> None:
    """A chunk counts for an absence if any of its way, from its arrival until it was stored, was in it."""

    def during(one: Published, span: tuple[float, float]) -> bool:
        return one.stored > span[0] and one.stored - one.lag < span[1]

    steady = [one for one in chunks if one.arrived >= START_S]
    usual = [one.lag for one in steady if not any(during(one, span) for span in spans.values())]
    print(f"  {len(chunks)} chunks; lag while the server is there: median {statistics.median(usual):.2f} s, longest "
          f"{max(usual):.2f} s")  # fmt: skip
    for how, span in spans.items():
        lags = [one.lag for one in steady if during(one, span)]
        print(f"  lag while it is {how} for {span[1] - span[0]:.0f} s ({len(lags)} chunks): median "
              f"{statistics.median(lags):.2f} s, longest {max(lags):.2f} s (at most {LATE_S:g} s above that)")  # fmt: skip
        figures.check(f"no chunk late while the server is {how}", max(lags) <= max(usual) + LATE_S)
        expected = (span[1] - span[0]) / 2
        figures.check(f"chunks were published while it was {how}", len(lags) >= expected - 2)


def ends(rounds: int = 3) -> list[str]:
    """Cancel and kill runs of live streams. Measure and print what is left at workers; returns what misses its target."""
    figures = Figures()
    taken: dict[str, list[float]] = {
        "SIGKILL of the run": [],
        "SIGTERM of the run": [],
        "cancelled through Prefect": [],
    }
    with _site() as (site, clip):
        site.place.pace("-readrate 0.1")
        for number in range(rounds):
            name = f"end{number}"
            key = site.running.add_stream(name)
            with site.running.publish(clip, key, loop=True):
                spool = site.running.broadcast(name)
                run = 0
                for how, times in taken.items():
                    # A killed run is replaced, and its chunks are submitted again.
                    wait_for(lambda: len(site.place.busy()) == WORKERS, "busy workers", 180)
                    run = site.running.run_pid(spool, run)
                    times.append(_end(site, spool, run, how))
            site.running.finished(spool)
    for how, times in taken.items():
        figures.add(f"{how} until its FFmpeg processes and scratch are gone at {WORKERS} workers", times, END_S)
    return figures.report()


def _end(site: LiveSite, spool: BroadcastSpool, run: int, how: str) -> float:
    """End a run, and return after how many seconds all is gone that it had at workers."""
    workers = site.place.workers.values()
    ffmpegs = [pid for one in workers for pid in one.cli.ffmpegs(".mkv")]
    scratch = {(one.log, name) for one in workers for name in one.scratch()}
    assert len(ffmpegs) >= WORKERS and len(scratch) >= WORKERS, (ffmpegs, scratch)
    began = now()
    if how.startswith("SIG"):
        os.kill(run, signal.Signals[how.partition(" ")[0]])
    else:
        (flow_run, *_) = site.running.flow_runs(spool)
        site.running.set_state(flow_run["id"], "CANCELLING")

    def gone() -> bool:
        left = {(one.log, name) for one in workers for name in one.scratch()}
        return not any(alive(pid) for pid in ffmpegs) and not left & scratch

    wait_for(gone, "the end of FFmpeg at workers", 60)
    return now() - began
