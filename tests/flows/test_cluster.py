"""One file on several workers, in a real Prefect server: task runs show where they ran."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.cli import Cli, slow_ffmpeg
from tests.support.cluster import machines
from tests.support.media import make_clip
from tests.support.prefect_api import PrefectApi
from tests.support.processes import wait_for
from tests.support.published import files


def test_workers_make_the_same_and_task_runs_show_where(tmp_path: Path, cli: Cli) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=180)
    cli.extra["STREAMWAVE_PASSTHROUGH"] = "never"
    with machines(tmp_path / "machines", STREAMWAVE_FFMPEG_SLOTS="1") as some:
        nobody = cli.run("transcode", str(clip.path), "--output", str(tmp_path / "out"), "--workers", some.address)
        assert nobody.code == 1
        assert nobody.err.startswith(f"error: the scheduler tcp://127.0.0.1:{some.port} does not answer; start ")
        some.scheduler()
        names = {one.name for one in some.workers("one", "two")}
        done = cli.run("transcode", str(clip.path), "--output", str(tmp_path / "out"), "--workers", some.address)
    assert (done.code, done.err) == (0, "")
    api = PrefectApi(cli.extra["PREFECT_API_URL"])
    (flow_run,) = api.flow_runs("vod", output=str(tmp_path / "out"))
    tasks = api.finished_task_runs(flow_run["id"], clip.chunks * 6)
    assert {task["state_name"] for task in tasks.values()} == {"Completed"}
    used = set()
    for chunk in range(clip.chunks):
        large, small, audio = (
            tasks[f"transcode {chunk:06d} {name}"]["state"]["message"] for name in ("large", "small", "audio")
        )
        found = re.fullmatch(r"on (\S+:\d+-\w+), attempt 1: \d+\.\d\d s, \d+\.\d\d × real time", large)
        assert found is not None, large
        used.add(found[1])
        assert (small, audio) == (large, "")
    assert used == names
    alone = cli.run("transcode", str(clip.path), "--output", str(tmp_path / "alone"))
    assert (alone.code, alone.err) == (0, "")
    assert files(tmp_path / "out") == files(tmp_path / "alone")


def test_a_run_that_is_ended_leaves_nothing_at_workers(tmp_path: Path, cli: Cli) -> None:
    """SIGTERM is also what Prefect sends to a run that is cancelled in its UI."""
    clip = make_clip(tmp_path / "clip.mp4", frames=180)
    slow = slow_ffmpeg(tmp_path / "ffmpeg", ".mkv")
    with machines(tmp_path / "machines", FFMPEG_PATH=str(slow)) as some:
        some.scheduler()
        worker = some.worker("one")
        command = ("transcode", str(clip.path), "--output", str(tmp_path / "out"), "--workers", some.address)
        with cli.start(*command) as process:
            wait_for(worker.cli.ffmpegs, "FFmpeg at the worker")
            process.terminate()
            wait_for(lambda: not worker.cli.ffmpegs() and not worker.scratch(), "its end", 20)
            assert process.wait(60) == 130
    assert cli.leftovers() == []
