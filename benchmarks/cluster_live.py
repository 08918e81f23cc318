"""A live 1080p ladder that no worker can carry alone: is it live with several, and does it stay so?

The lag of a chunk is the time from the arrival of its last frame until all of its segments are stored. Before that it is
measured at which share of real time one worker encodes this source; then the quota of all workers is changed until the share
is ``SHARE``. Where that would take more than ``MAX_CORES`` in all, the source gets fewer pictures a second instead.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from benchmarks.cluster_live_site import LiveSite, Published, live_site, slope
from benchmarks.cluster_site import make_footage, now
from benchmarks.quota import SlowHost
from streamwave.spool.broadcast import BroadcastSpool
from tests.support.media import Clip
from tests.support.processes import wait_for

#: Which share of real time one worker carries; with two streams, of which five workers at 0.4 could carry exactly all.
SHARE, SHARE_OF_TWO = 0.4, 0.5
#: How far the measured share may be from that.
TOLERANCE = 0.03
#: Cores of all workers together. The rest of two cores is for publisher, segmenter, run, scheduler and servers.
MAX_CORES = 1.6
#: The kernel's least quota is a millisecond, a tenth of the period.
MIN_CORES = 0.1
#: Length of the footage, which is repeated: whole frames, chunks and AAC frames.
FOOTAGE_S = 16
#: Pictures per second to begin with.
RATE = 30
#: Times that one worker encodes a chunk while its share is measured; the first one is not counted.
CALIBRATION_CHUNKS = 6
#: The stream begins with a run that has to start, and with what has arrived meanwhile.
START_S = 30.0
#: By how much the lag may grow: from the first to the last minute, and a minute by its slope, in seconds.
MAX_GROWTH_S, MAX_SLOPE_S = 1.0, 0.3


@dataclass(frozen=True)
class _Source:
    """The footage at ``rate`` pictures a second, and the ``cores`` with which one worker carries ``share`` of it."""

    clip: Clip
    cores: float
    share: float


def one(minutes: float = 5, height: int = 1080, calibrations: int = 3) -> list[str]:
    """One stream on four workers. Measure and print; returns what misses its target. ``calibrations``: at most so many."""
    return _measure(1, 4, SHARE, minutes, height, calibrations)


def two(minutes: float = 5, height: int = 1080, calibrations: int = 3) -> list[str]:
    """Two streams on five workers. Measure and print; returns what misses its target. ``calibrations``: at most so many."""
    return _measure(2, 5, SHARE_OF_TWO, minutes, height, calibrations)


def _measure(streams: int, workers: int, share: float, minutes: float, height: int, calibrations: int) -> list[str]:
    with (
        tempfile.TemporaryDirectory(prefix="streamwave-bench-") as name,
        live_site(Path(name), workers, MAX_CORES / workers, STREAMWAVE_SEGMENT_SECONDS="2") as site,
    ):
        source = _calibrated(site, Path(name), workers, share, height, calibrations)
        site.place.start(*(str(number) for number in range(2, workers + 1)))
        print(
            f"  {streams} streams of {height}p{source.clip.rate}, {workers} workers of {source.cores:.3f} core, of which one "
            f"carries {source.share:.2f} × real time; {minutes:g} minutes",
            flush=True,
        )
        missed = []
        if not abs(source.share - share) <= TOLERANCE:
            missed.append(f"one worker carries {source.share:.2f} × real time instead of {share:g}")
        for stream, chunks in _published(site, source.clip, streams, 60 * minutes).items():
            missed += _report(stream, chunks, 60 * minutes)
        return missed


def _calibrated(site: LiveSite, root: Path, workers: int, share: float, height: int, calibrations: int) -> _Source:
    """Find a source and a quota with which one worker, while the other hosts are busy, reaches ``share``. It stays started."""
    rate, cores, found = RATE, MAX_CORES / workers, math.nan
    clip = _footage(root, rate, height)
    site.place.start("1")
    for number in range(calibrations):
        found = _share(site, clip, f"calibration{number}")
        print(f"  calibration: {height}p{rate} on one worker of {cores:.3f} core: {found:.3f} × real time", flush=True)
        if abs(found - share) <= TOLERANCE or number + 1 == calibrations:
            break
        cores = max(MIN_CORES, cores * share / found)
        if cores > MAX_CORES / workers:
            # The rest of the way by the picture rate, since the encode of a chunk costs about as much as it has pictures.
            rate = max(5, int(rate * MAX_CORES / workers / cores))
            cores = MAX_CORES / workers
            clip = _footage(root, rate, height)
        for host in site.place.machines.hosts.values():
            if isinstance(host, SlowHost):
                host.allow(cores)
    return _Source(clip, cores, found)


def _footage(root: Path, rate: int, height: int) -> Clip:
    path = root / f"footage{rate}.mp4"
    if not path.exists():
        make_footage(path, FOOTAGE_S, rate, height=height)
    return Clip(path, Fraction(rate), FOOTAGE_S * rate, 2 * rate)


def _share(site: LiveSite, clip: Clip, stream: str) -> float:
    """The share of real time that the only worker encodes of a live stream; it always has a chunk to do."""
    key, began = site.running.add_stream(stream), now()
    with site.place.others_busy(clip.path), site.running.publish(clip, key, loop=True):
        starts = wait_for(
            lambda: all_ if len(all_ := site.place.starts(began)) > CALIBRATION_CHUNKS else [], "the worker", 300
        )
        spool = site.running.broadcast(stream)
        _cancel(site, spool)
    wait_for(site.place.idle, "the end of the calibration", 60)
    times = [after.at - before.at for before, after in zip(starts[1:], starts[2:], strict=False)]
    return 2 / statistics.median(times)


def _cancel(site: LiveSite, spool: BroadcastSpool) -> None:
    (flow_run,) = site.running.flow_runs(spool)
    site.running.set_state(flow_run["id"], "CANCELLING")
    site.running.finished(spool)


def _published(site: LiveSite, clip: Clip, streams: int, seconds: float) -> dict[str, list[Published]]:
    """Publish ``clip`` as several streams for so long, and return their chunks when all are recorded."""
    names = [f"live{number}" for number in range(streams)]
    with ExitStack() as stack:
        for name in names:
            key = site.running.add_stream(name)
            process = stack.enter_context(site.running.publish(clip, key, "-t", f"{seconds:g}", loop=True))
        end = time.monotonic() + seconds
        spools = {name: site.running.broadcast(name) for name in names}
        process.wait(max(0.0, end - time.monotonic()) + 60)
    for spool in spools.values():
        site.running.finished(spool)
    return {name: site.chunks(spool) for name, spool in spools.items()}


def _report(stream: str, chunks: Sequence[Published], seconds: float) -> list[str]:
    # In a short trial, the first and last third of what is left of a minute.
    span = min(60.0, (seconds - START_S) / 3)
    steady = [one for one in chunks if one.arrived >= START_S]
    first = statistics.median(one.lag for one in steady if one.arrived < START_S + span)
    last = statistics.median(one.lag for one in steady if one.arrived >= seconds - span)
    grows = slope(steady)
    lags = sorted(one.lag for one in steady)
    print(
        f"  {stream}: {len(chunks)} chunks; lag after the start ({START_S:g} s): first {span:g} s median {first:.2f} s, last "
        f"{span:g} s {last:.2f} s (at most {MAX_GROWTH_S:g} s more); slope {grows:+.3f} s a minute (at most "
        f"{MAX_SLOPE_S:g}); all: median {statistics.median(lags):.2f} s, 95 % {lags[len(lags) * 95 // 100]:.2f} s, longest "
        f"{lags[-1]:.2f} s; during the start at most {max(one.lag for one in chunks):.2f} s",
        flush=True,
    )
    by_minute = [[one.lag for one in chunks if 60 * minute <= one.arrived < 60 * minute + 60] for minute in range(20)]
    print("    median by minute: " + ", ".join(f"{statistics.median(found):.2f}" for found in by_minute if found))
    missed = []
    if len(chunks) < seconds / 2 - 1:
        missed.append(f"{stream}: {len(chunks)} chunks of {seconds / 2:.0f}")
    if last - first > MAX_GROWTH_S:
        missed.append(f"{stream}: lag grew by {last - first:.2f} s")
    if grows > MAX_SLOPE_S:
        missed.append(f"{stream}: lag grew by {grows:.2f} s a minute")
    return missed
