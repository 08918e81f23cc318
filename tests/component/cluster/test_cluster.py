"""Chunks on workers of their own processes, which are killed, stopped, drained and cut off in the middle of one."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
import pytest

import streamwave
from streamwave.config.settings import Settings
from tests.support.cli import LADDER, Cli, failing_ffmpeg, slow_ffmpeg
from tests.support.cluster import Machines, Program, machines
from tests.support.media import Clip, ffmpeg_path, make_clip
from tests.support.processes import wait_for
from tests.support.published import files

RUN = "import streamwave, sys; streamwave.transcode(sys.argv[1], 'out', overwrite=True)"


#: A worker whose tasks hang while it sends heartbeats. It notices after a second instead of twenty minutes.
HUNG = """
import sys, time
from streamwave.cluster import bench, order, worker
order.Order.limit_s = property(lambda order: 1.0)
bench.Bench._encode = lambda *_: time.sleep(10_000)
sys.exit(worker.main([sys.argv[1], "0"]))
"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=180)


@pytest.fixture(scope="module")
def alone(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What this machine makes without workers, by path."""
    folder = tmp_path_factory.mktemp("alone")
    settings = Settings.load(env_file=None, state_dir=folder / "state", ladder=json.dumps(LADDER), passthrough="never")
    streamwave.transcode(clip.path, folder / "out", settings=settings)
    return files(folder / "out")


@dataclass
class Site:
    """A scheduler with two workers of one slot each. Their FFmpeg takes very long for chunk 1 the next time after ``arm``."""

    machines: Machines
    ffmpeg: Path
    workers: list[Program]
    scheduler: Program | None = None

    def arm(self, rate: str = "0.01") -> None:
        """Let chunk 1 take long, at ``rate`` times real time; forget what FFmpeg was started for."""
        (self.ffmpeg.parent / "rate").write_text(rate)
        (self.ffmpeg.parent / "starts").unlink(missing_ok=True)
        (self.ffmpeg.parent / "slowed").rmdir()

    def started(self) -> list[int]:
        """Numbers of the chunks that FFmpeg was started for."""
        return sorted(map(int, re.findall(r"-i \S+/(\d+)\.mkv", (self.ffmpeg.parent / "starts").read_text())))

    def slow_one(self) -> Program:
        """Wait until a worker's FFmpeg takes long, and return that worker."""
        return wait_for(lambda: [one for one in self.workers if one.cli.ffmpegs("000001.mkv")], "the slow FFmpeg")[0]

    def ffmpegs(self) -> list[int]:
        """All FFmpeg processes of the workers."""
        return [pid for one in self.workers for pid in one.cli.ffmpegs()]

    def scratch(self) -> list[str]:
        """All folders of chunks of the workers."""
        return [name for one in self.workers for name in one.scratch()]

    @contextmanager
    def run(self, folder: Path, clip: Clip, **extra: str) -> Iterator[subprocess.Popen[str]]:
        """Transcode ``clip`` to ``out`` in ``folder``."""
        settings = {"STREAMWAVE_TASK_RUNNER": self.machines.address, "STREAMWAVE_PASSTHROUGH": "never"}
        with Cli(folder, settings | extra).start("-c", RUN, str(clip.path), program="python") as process:
            yield process


def ended(process: subprocess.Popen[str]) -> str:
    """Wait for the end of a run that has to succeed; returns its messages."""
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return err


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    path = slow_ffmpeg(folder / "ffmpeg", "000001.mkv", once=True, rate=f'$(cat "{folder}/ffmpeg/rate")')
    (folder / "ffmpeg" / "slowed").mkdir()
    with machines(folder, STREAMWAVE_FFMPEG_SLOTS="1", FFMPEG_PATH=str(path)) as some:
        scheduler = some.scheduler()
        yield Site(some, path, some.workers("one", "two"), scheduler)


def test_a_killed_worker_costs_only_its_chunk(site: Site, clip: Clip, alone: dict[str, bytes], tmp_path: Path) -> None:
    site.arm()
    with site.run(tmp_path, clip) as process:
        victim = site.slow_one()
        victim.kill()
        assert ended(process) == ""
    assert files(tmp_path / "out") == alone
    assert site.started() == [0, 1, 1, 2, 3]
    # It is there again, without what it left behind.
    wait_for(lambda: victim.log.read_text().count("ready") == 2, "the restarted worker")
    assert (site.ffmpegs(), site.scratch()) == ([], [])


def test_a_stopped_worker_is_given_up_and_used_again(
    site: Site, clip: Clip, alone: dict[str, bytes], tmp_path: Path
) -> None:
    """As one that is cut off: it sends no heartbeats, and its connections stay."""
    site.arm()
    with site.run(tmp_path, clip) as process:
        victim = site.slow_one()
        readied = victim.log.read_text().count("ready")
        pid = victim.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            assert ended(process) == ""
        finally:
            os.kill(pid, signal.SIGCONT)
    assert files(tmp_path / "out") == alone
    assert site.started() == [0, 1, 1, 2, 3]
    wait_for(lambda: not victim.cli.ffmpegs() and not victim.scratch(), "the end of what nobody waits for")
    assert victim.log.read_text().count("ready") >= readied


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_ffmpeg_survives_its_run(site: Site, clip: Clip, tmp_path: Path, number: signal.Signals) -> None:
    site.arm()
    with site.run(tmp_path, clip) as process:
        site.slow_one()
        os.kill(process.pid, number)
        wait_for(lambda: not site.ffmpegs() and not site.scratch(), "the end of the workers' FFmpeg", 20)


def test_a_restarted_scheduler_gets_the_chunks_again(
    site: Site, clip: Clip, alone: dict[str, bytes], tmp_path: Path
) -> None:
    site.arm()
    with site.run(tmp_path, clip) as process:
        site.slow_one()
        assert site.scheduler is not None
        os.kill(site.scheduler.process.pid, signal.SIGKILL)
        site.scheduler.process.wait(20)
        site.scheduler = site.machines.scheduler("another scheduler")
        ended(process)
    assert files(tmp_path / "out") == alone


def test_a_worker_that_drains_finishes_its_chunk(
    site: Site, clip: Clip, alone: dict[str, bytes], tmp_path: Path
) -> None:
    site.arm("0.5")
    with site.run(tmp_path, clip) as process:
        leaving = site.slow_one()
        leaving.process.send_signal(signal.SIGTERM)
        assert leaving.process.wait(60) == 0
        assert ended(process) == ""
    assert files(tmp_path / "out") == alone
    assert site.started() == [0, 1, 2, 3]
    assert leaving.log.read_text().splitlines()[-1].endswith("drained")
    site.workers.remove(leaving)
    site.workers.append(site.machines.worker("three"))


def test_a_worker_that_drains_is_not_waited_for_without_end(
    clip: Clip, alone: dict[str, bytes], tmp_path: Path
) -> None:
    ffmpeg = slow_ffmpeg(tmp_path / "ffmpeg", "000001.mkv", once=True)
    with machines(tmp_path, STREAMWAVE_FFMPEG_SLOTS="1", FFMPEG_PATH=str(ffmpeg)) as some:
        some.scheduler()
        leaving = some.worker("leaving", STREAMWAVE_DRAIN_TIMEOUT_S="1")
        site = Site(some, ffmpeg, [leaving])
        with site.run(tmp_path, clip) as process:
            site.slow_one()
            some.worker("staying")
            leaving.process.send_signal(signal.SIGTERM)
            assert leaving.process.wait(60) == 0
            assert ended(process) == ""
        assert site.started() == [0, 1, 1, 2, 3]
    assert files(tmp_path / "out") == alone
    last = leaving.log.read_text().splitlines()[-1]
    assert last.endswith("drained; chunks that go to other workers, because they took longer than 1 s: 1")


def test_a_worker_that_hangs_ends_and_costs_no_chunk(
    site: Site, clip: Clip, alone: dict[str, bytes], tmp_path: Path
) -> None:
    site.arm("100")
    hung = site.machines.python("hung", "-c", HUNG, site.machines.address)
    hung.says("ready")
    with site.run(tmp_path, clip) as process:
        assert ended(process) == ""
    assert files(tmp_path / "out") == alone
    assert hung.process.wait(20) == 1
    assert re.search(r"hangs since 1 s in chunk \d; ending", hung.log.read_text())


def test_a_worker_with_another_ffmpeg_is_not_used_and_that_is_said(
    site: Site, clip: Clip, alone: dict[str, bytes], tmp_path: Path
) -> None:
    site.arm("100")
    other = site.machines.worker("other", FFMPEG_PATH=imageio_ffmpeg.get_ffmpeg_exe())
    doctor = Cli(tmp_path, {"STREAMWAVE_TASK_RUNNER": site.machines.address, "FFMPEG_PATH": str(site.ffmpeg)}).run(
        "doctor", "--json"
    )
    found = next(one for one in json.loads(doctor.out)["checks"] if one["name"] == "workers")
    address = site.machines.address.replace("dask", "tcp")
    assert found["status"] == "warn"
    assert found["detail"] == (
        f"2 with 2 slots at {address}, of which 0 are busy; 0 chunks wait; not used, because their encoders differ: "
        f"{other.name}"
    )
    with site.run(tmp_path, clip) as process:
        said = ended(process)
    assert f"have another FFmpeg or another version of StreamWave than this run are not used: {other.name}" in said
    assert files(tmp_path / "out") == alone
    assert site.started() == [0, 1, 2, 3]
    other.process.send_signal(signal.SIGTERM)
    other.process.wait(60)


def test_a_worker_with_a_broken_ffmpeg_costs_no_chunk(
    site: Site, clip: Clip, alone: dict[str, bytes], tmp_path: Path
) -> None:
    """It fails at once, so it has a free slot more often than others."""
    site.arm("100")
    broken = failing_ffmpeg(tmp_path / "broken", ".mkv")
    worker = site.machines.worker("broken", FFMPEG_PATH=str(broken), STREAMWAVE_FFMPEG_SLOTS="4")
    with site.run(tmp_path, clip) as process:
        assert ended(process) == ""
    assert files(tmp_path / "out") == alone
    assert ".mkv" in (broken.parent / "starts").read_text()
    worker.process.send_signal(signal.SIGTERM)
    worker.process.wait(60)


def test_a_chunk_that_kills_workers_costs_that_chunk(clip: Clip, alone: dict[str, bytes], tmp_path: Path) -> None:
    """The scheduler of this test gives up after two deaths, because each costs seconds."""
    deadly = tmp_path / "deadly-ffmpeg"
    deadly.write_text(
        f'#!/bin/sh\ncase "$*" in *000001.mkv*) kill -9 $PPID; exit 1 ;; esac\nexec "{ffmpeg_path()}" "$@"\n'
    )
    deadly.chmod(0o755)
    with machines(tmp_path, FFMPEG_PATH=str(deadly)) as some:
        some.scheduler(allowed_failures=1)
        site = Site(some, deadly, [some.worker("one")])
        with site.run(tmp_path, clip, STREAMWAVE_MAX_CHUNKS_IN_FLIGHT="1") as process:
            _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "chunk 1 large is replaced by filler: chunk 1 to large, small: every worker that tried it died" in err
    assert "1 of 4 chunks are black because they could not be decoded (numbers 1)" in err
    made = files(tmp_path / "out")
    assert made.keys() == alone.keys()
    other = {name for name, data in made.items() if data != alone[name] and name.endswith((".m4s", ".mp4"))}
    assert len(other) == 2
