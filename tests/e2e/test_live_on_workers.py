"""A live stream whose chunks are encoded by a worker: the short form of the benchmarks cluster_kills and cluster_cancel."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.support.cli import slow_ffmpeg
from tests.support.cluster import machines
from tests.support.live import installation, is_static, periods, picture_numbers
from tests.support.media import make_clip
from tests.support.processes import alive, wait_for


def test_a_worker_is_killed_and_then_the_run_is_cancelled_in_the_ui(
    tmp_path: Path, prefect_api: str, prefect_home: Path
) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=100, gop=25)
    rate = tmp_path / "rate"
    rate.write_text("2")
    ffmpeg = slow_ffmpeg(tmp_path / "ffmpeg", ".mkv", rate=f'$(cat "{rate}")')
    (tmp_path / "live").mkdir()
    with machines(tmp_path / "workers", STREAMWAVE_FFMPEG_SLOTS="2", FFMPEG_PATH=str(ffmpeg)) as some:
        some.scheduler()
        worker = some.worker("one")
        variables = {"PREFECT_API_URL": prefect_api, "STREAMWAVE_TASK_RUNNER": some.address}
        with installation(tmp_path / "live", prefect_home, None, **variables) as running:
            key = running.add_stream("far")
            with running.publish(clip, key, loop=True) as publisher:
                spool = running.broadcast("far")
                wait_for(lambda: worker.cli.ffmpegs(".mkv"), "a chunk at the worker")
                worker.kill()
                running.published_chunks(spool, 4)
                rate.write_text("0.05")
                held = wait_for(lambda: worker.cli.ffmpegs("readrate 0.05"), "a slow chunk at the worker")
                run = running.run_pid(spool)
                (flow_run,) = running.flow_runs(spool)
                running.set_state(flow_run["id"], "CANCELLING")
                wait_for(lambda: not any(map(alive, (run, *held))) and not worker.scratch(), "the end of all of it", 60)
                assert publisher.wait(60) != 0
            root = running.finished(spool)
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(60) == 0
    assert is_static(root)
    (period,) = periods(root)
    numbers = picture_numbers(period, clip.rate)
    assert numbers == [number % clip.frames for number in range(len(numbers))]
    assert len(numbers) >= 4 * clip.gop
