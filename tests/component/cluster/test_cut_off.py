"""A worker on another host whose cable is pulled in the middle of a chunk, and plugged in again."""

from __future__ import annotations

import json
from pathlib import Path

import streamwave
from tests.support.cli import LADDER, slow_ffmpeg
from tests.support.cluster import machines
from tests.support.hosts import two_hosts
from tests.support.media import make_clip
from tests.support.processes import wait_for
from tests.support.published import files

RUN = "import streamwave, sys; streamwave.transcode(sys.argv[1], 'out', overwrite=True)"


def test_chunks_of_a_worker_that_is_cut_off_go_elsewhere_and_it_comes_back(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=180)
    alone = streamwave.Settings.load(
        env_file=None, state_dir=tmp_path / "state", ladder=json.dumps(LADDER), passthrough="never"
    )
    streamwave.transcode(clip.path, tmp_path / "alone", settings=alone)
    slow = slow_ffmpeg(tmp_path / "ffmpeg", ".mkv", once=True)
    settings = {"STREAMWAVE_CLUSTER_KEYS": str(tmp_path / "keys"), "STREAMWAVE_FFMPEG_SLOTS": "1"}
    with two_hosts() as (ours, theirs), machines(tmp_path, {"": ours, "far": theirs}, **settings) as some:
        assert some.cli("keys").run("cluster", "keys").code == 0
        some.scheduler()
        far = some.worker("far", FFMPEG_PATH=str(slow))
        options = {"STREAMWAVE_TASK_RUNNER": some.address, "STREAMWAVE_PASSTHROUGH": "never"}
        run = some.python("run", "-c", RUN, str(clip.path), **options)
        wait_for(far.cli.ffmpegs, "its first chunk")
        some.worker("near")
        ours.run("ip", "link", "set", "cable", "down")
        assert run.process.wait(120) == 0, run.log.read_text()
        assert files(run.cli.folder / "out") == files(tmp_path / "alone")
        wait_for(lambda: "the connection to the scheduler is lost" in far.log.read_text(), "the worker that notices")
        ours.run("ip", "link", "set", "cable", "up")
        wait_for(lambda: far.log.read_text().count("ready") == 2, "the worker that comes back")
        assert not far.cli.ffmpegs() and not far.scratch()
