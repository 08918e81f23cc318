"""Which chunk a worker takes next if several runs want it, and what a run does while no worker can do anything."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from streamwave.cluster.cluster import client_of, workers_of
from streamwave.cluster.endpoint import Endpoint
from tests.support.cli import slow_ffmpeg
from tests.support.cluster import Machines, Program, machines
from tests.support.media import make_clip
from tests.support.processes import wait_for

RUN = "import streamwave, sys; streamwave.transcode(sys.argv[1], sys.argv[2], overwrite=True)"
LIVE = "import streamwave, sys; streamwave.open_live(sys.argv[1], 'show').publish()"


def queued(some: Machines) -> int:
    """Number of chunks that workers have."""

    async def ask() -> int:
        async with await client_of(Endpoint(address=f"tcp://127.0.0.1:{some.port}")) as client:
            found = await workers_of(client)
            assert found
            return sum(sum(one["metrics"]["task_counts"].values()) for one in found.values())

    return asyncio.run(ask())


class Queue:
    """A scheduler with one worker of one slot, which is held up by the chunk that it begins first."""

    def __init__(self, some: Machines) -> None:
        self.some, self.clip, self.runs = some, make_clip(some.folder / "clip.mp4", frames=180), list[Program]()
        self.ffmpeg = slow_ffmpeg(some.folder / "ffmpeg", ".mkv", once=True)
        some.scheduler()
        self.worker = some.worker("one", FFMPEG_PATH=str(self.ffmpeg), STREAMWAVE_FFMPEG_SLOTS="1")

    def start(self, name: str, program: str) -> None:
        """Start a run with one rendition of that name, and wait until its chunks are queued."""
        before = queued(self.some)
        ladder = f'{{"rungs": [{{"name": "{name}", "short_side": 90, "max_kbps": 250}}], "audio_kbps": 128}}'
        options = {"STREAMWAVE_TASK_RUNNER": self.some.address, "STREAMWAVE_LADDER": ladder}
        self.runs.append(self.some.python(name, "-c", program, str(self.clip.path), "out", **options))
        wait_for(lambda: queued(self.some) >= before + 3, f"chunks of {name}", 60)

    def order(self, first: str, second: str) -> list[str]:
        """Start ``second`` while ``first`` is held up; the run and the chunk of each start of FFmpeg, in order."""
        self.start("first", first)
        (slow,) = wait_for(lambda: self.worker.cli.ffmpegs(".mkv"), "the slow FFmpeg")
        self.start("second", second)
        os.kill(slow, signal.SIGKILL)
        for run in self.runs:
            assert run.process.wait(120) == 0, run.log.read_text()
        starts = (self.ffmpeg.parent / "starts").read_text()
        return [f"{name} {chunk}" for chunk, name in re.findall(r"-i \S+/00000(\d)\.mkv.*?(first|second)\.", starts)]


def test_a_live_stream_goes_before_a_file(tmp_path: Path) -> None:
    with machines(tmp_path, STREAMWAVE_PASSTHROUGH="never") as some:
        found = Queue(some).order(RUN, LIVE)
    assert found[1].startswith("second")


@pytest.mark.parametrize("program", [RUN, LIVE])
def test_a_run_that_begins_later_does_not_go_first(tmp_path: Path, program: str) -> None:
    """Its chunks have smaller numbers."""
    with machines(tmp_path, STREAMWAVE_PASSTHROUGH="never") as some:
        found = Queue(some).order(program, program)
    assert {name.split()[0] for name in found[:4]} == {"first"}


def test_a_run_waits_until_its_only_worker_can_write_and_says_so(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=60)
    with machines(tmp_path) as some:
        some.scheduler()
        worker = some.worker("one")
        (scratch,) = (worker.cli.state / "worker").glob("chunks-*")
        shutil.move(scratch, tmp_path / "away")
        run = some.python("run", "-c", RUN, str(clip.path), "out", STREAMWAVE_TASK_RUNNER=some.address)
        run.says(f"the worker {worker.name} cannot encode: No such file or directory; check its disk and memory")
        shutil.move(tmp_path / "away", scratch)
        assert run.process.wait(60) == 0, run.log.read_text()
        assert run.log.read_text().count("cannot encode") == 1


def test_a_run_says_that_its_scheduler_is_stuck(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=60)
    with machines(tmp_path) as some:
        scheduler = some.scheduler()
        worker = some.worker("one", FFMPEG_PATH=str(slow_ffmpeg(tmp_path / "ffmpeg", ".mkv", once=True, rate="0.2")))
        run = some.python("run", "-c", RUN, str(clip.path), "out", STREAMWAVE_TASK_RUNNER=some.address)
        wait_for(worker.cli.ffmpegs, "the first chunk")
        os.kill(scheduler.process.pid, signal.SIGSTOP)
        try:
            run.says(f"chunks wait, because the scheduler tcp://127.0.0.1:{some.port} does not answer")
        finally:
            os.kill(scheduler.process.pid, signal.SIGCONT)
        assert run.process.wait(60) == 0, run.log.read_text()
