"""The vod flow in a real Prefect server: its graph, its names, its artifacts, and a transcode that is killed."""

from __future__ import annotations

import json
import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import streamwave
from streamwave.config.settings import Settings
from tests.api_page import PAGE
from tests.support.cli import LADDER, Cli, failing_ffmpeg, slow_ffmpeg
from tests.support.media import Clip, make_clip
from tests.support.player import decode_pictures, representations
from tests.support.prefect_api import PrefectApi, upstream
from tests.support.processes import wait_for
from tests.support.published import files

CHUNKS = 4
RENDITIONS = ["large", "small", "audio"]
#: One segment, package and store for every chunk, and one transcode for every chunk and rendition.
TASK_RUNS = CHUNKS * (3 + len(RENDITIONS))


@dataclass(frozen=True)
class Run:
    """A finished run of the flow: where its output is, and what Prefect says of it."""

    output: Path
    api: PrefectApi
    flow_run: dict[str, Any]
    tasks: dict[str, dict[str, Any]]


#: Both renditions are made by one FFmpeg process, which is what is looked at here.
ENCODED = {"STREAMWAVE_PASSTHROUGH": "never"}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=180)


def run(cli: Cli, clip: Clip) -> Run:
    """Transcode the clip and look at its run in Prefect."""
    output = cli.folder / "out"
    done = cli.run("transcode", str(clip.path), "--output", str(output))
    assert (done.code, done.err) == (0, "")
    return inspect(cli, output)


def inspect(cli: Cli, output: Path) -> Run:
    api = PrefectApi(cli.extra["PREFECT_API_URL"])
    (flow_run,) = api.flow_runs("vod", output=str(output))
    return Run(output, api, flow_run, api.finished_task_runs(flow_run["id"], TASK_RUNS))


@pytest.fixture(scope="module")
def undisturbed(clip: Clip, tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Run:
    assert clip.chunks == CHUNKS
    return run(Cli(tmp_path_factory.mktemp("undisturbed"), {"PREFECT_API_URL": prefect_api, **ENCODED}), clip)


def test_every_chunk_and_rendition_is_a_task_run_with_a_name(undisturbed: Run, clip: Clip) -> None:
    wanted = {f"{stage} {chunk:06d}" for chunk in range(CHUNKS) for stage in ("segment", "package", "store")} | {
        f"transcode {chunk:06d} {name}" for chunk in range(CHUNKS) for name in RENDITIONS
    }
    assert set(undisturbed.tasks) == wanted
    assert {task["state_name"] for task in undisturbed.tasks.values()} == {"Completed"}
    assert {task["run_count"] for task in undisturbed.tasks.values()} == {1}
    assert undisturbed.flow_run["state_name"] == "Completed"
    assert undisturbed.flow_run["name"] == f"vod {clip.path}"


def test_task_runs_depend_on_each_other_as_the_stages_do(undisturbed: Run) -> None:
    ids = {task["id"]: name for name, task in undisturbed.tasks.items()}
    links = {name: {ids[one] for one in upstream(task)} for name, task in undisturbed.tasks.items()}
    for chunk in range(CHUNKS):
        number, before = f"{chunk:06d}", f"{chunk - 1:06d}"
        transcodes = {f"transcode {number} {name}" for name in RENDITIONS}
        assert links[f"segment {number}"] == set()
        for transcode in transcodes:
            assert links[transcode] == {f"segment {number}"}, transcode
        earlier = {f"package {before}"} if chunk else set()
        assert links[f"package {number}"] == {f"segment {number}", *transcodes, *earlier}
        earlier = {f"store {before}"} if chunk else set()
        assert links[f"store {number}"] == {f"package {number}", *earlier}


def test_chunks_are_transcoded_side_by_side_and_stored_in_order(undisturbed: Run) -> None:
    stored = [undisturbed.tasks[f"store {chunk:06d}"] for chunk in range(CHUNKS)]
    assert all(a["end_time"] <= b["start_time"] for a, b in zip(stored, stored[1:], strict=False))
    for chunk in range(CHUNKS):
        package = undisturbed.tasks[f"package {chunk:06d}"]
        made = [undisturbed.tasks[f"transcode {chunk:06d} {name}"]["end_time"] for name in RENDITIONS]
        assert max(made) <= package["start_time"] <= stored[chunk]["start_time"]


def test_progress_and_the_result_are_artifacts(undisturbed: Run) -> None:
    found = {artifact["type"]: artifact for artifact in undisturbed.api.artifacts(undisturbed.flow_run["id"])}
    assert float(found["progress"]["data"]) == 100
    assert f"{undisturbed.output}/manifest.mpd" in found["markdown"]["data"]
    assert "master.m3u8" in found["markdown"]["description"]


def test_a_killed_transcode_is_retried_alone_and_leaves_no_trace_in_the_output(
    cli: Cli, clip: Clip, undisturbed: Run
) -> None:
    stand_in = slow_ffmpeg(cli.folder / "ffmpeg", "000001.mkv", once=True)
    cli.extra |= {"FFMPEG_PATH": str(stand_in), **ENCODED}
    output = cli.folder / "out"
    with cli.start("transcode", str(clip.path), "--output", str(output)) as process:
        (victim,) = wait_for(lambda: cli.ffmpegs("000001.mkv"), "the FFmpeg of chunk 1")
        os.kill(victim, signal.SIGKILL)
        _, err = process.communicate(timeout=90)
        assert (process.returncode, err) == (0, "")
    disturbed = inspect(cli, output)
    # Both pictures' renditions shared the process that was killed; the sound and all other chunks had nothing of it.
    again = {name for name, task in disturbed.tasks.items() if task["run_count"] > 1}
    assert again == {"transcode 000001 large", "transcode 000001 small"}
    assert {task["run_count"] for task in disturbed.tasks.values()} == {1, 2}
    assert {task["state_name"] for task in disturbed.tasks.values()} == {"Completed"}
    starts = (stand_in.parent / "starts").read_text().splitlines()
    made = [[name for name in RENDITIONS if f"/000001/{name}." in line] for line in starts if "000001.mkv" in line]
    assert sorted(made) == [["large"], ["large", "small"], ["small"]]
    assert files(output) == files(undisturbed.output)


def test_a_chunk_that_never_works_is_black_and_the_command_says_so(cli: Cli, clip: Clip, undisturbed: Run) -> None:
    """One that exceeds its limits, so that another try would as well, is so at once."""
    stand_in = failing_ffmpeg(cli.folder / "ffmpeg", "000001.mkv", "000002.mkv")
    cli.extra |= {"FFMPEG_PATH": str(stand_in), "STREAMWAVE_CHUNK_RETRIES": "1", **ENCODED}
    output = cli.folder / "out"
    done = cli.run("transcode", str(clip.path), "--output", str(output))
    assert done.code == 1
    assert done.err.splitlines()[-1] == (
        "error: 2 of 4 chunks are black because they could not be decoded (numbers 1, 2); everything else is "
        "complete; repair the source and transcode it again with --overwrite"
    )
    assert f"{output}/manifest.mpd" in done.out
    # As often as the setting says: once together, then each rendition once again.
    starts = (stand_in.parent / "starts").read_text().splitlines()
    assert [sum(name in line for line in starts) for name in ("000001.mkv", "000002.mkv")] == [3, 1]
    made, usual = representations(output), representations(undisturbed.output)
    assert made["audio"].data == usual["audio"].data
    for name in ("large", "small"):
        numbers = [picture.number for picture in decode_pictures(made[name].data, made[name].timescale)]
        gop = clip.gop
        assert numbers == [*range(gop), *[0] * gop * 2, *range(3 * gop, clip.frames)]


def test_an_output_that_does_not_last_is_refused(cli: Cli, clip: Clip) -> None:
    for command in (("transcode", str(clip.path)), ("run", str(clip.path), "--stream", "show")):
        done = cli.run(*command, "--output", "memory://lost")
        assert (done.code, done.out) == (2, "")
        assert done.err == (
            "error: memory://lost is lost when the command ends; name a folder or an address that lasts\n"
        )


def test_without_prefect_the_same_is_made(clip: Clip, undisturbed: Run, tmp_path: Path) -> None:
    settings = Settings.load(env_file=None, state_dir=tmp_path, ladder=json.dumps(LADDER), passthrough="never")
    streamwave.transcode(clip.path, tmp_path / "out", settings=settings)
    assert files(tmp_path / "out") == files(undisturbed.output)


def test_the_example_of_the_page_on_the_api_runs_the_flow(cli: Cli, clip: Clip, undisturbed: Run) -> None:
    (example,) = re.findall(r"```python\n(from flows.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    cli.extra |= ENCODED
    (cli.folder / "talk.mp4").symlink_to(clip.path)
    done = cli.run("-c", example, program="python")
    assert done.code == 0, done.err
    assert files(cli.folder / "out" / "talk-by-prefect") == files(undisturbed.output)
