"""``streamwave up`` with a scheduler and a worker of its own, which broadcasts and files use and which are supervised."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import httpx

from streamwave.cluster.scheduler import NO_BOKEH, dashboard_url, has_bokeh
from tests.support.cli import slow_ffmpeg
from tests.support.cluster import machines
from tests.support.http import LOCAL
from tests.support.live import Installation, assert_exact, installation
from tests.support.media import make_clip
from tests.support.ports import free_port
from tests.support.processes import wait_for


def encoded_at(ffmpeg: Path) -> set[str]:
    """Kinds of folders in which FFmpeg was started for chunks."""
    starts = (ffmpeg.parent / "starts").read_text()
    return set(re.findall(r"-i \S+/(worker|spool|scratch)\S*/\d{6}\.mkv .*-c:v", starts))


def log_of(up: Installation, part: str) -> str:
    """What a part has logged."""
    return (up.settings.state_dir / "logs" / f"{part}.log").read_text()


def test_it_starts_a_scheduler_and_a_worker_that_runs_use(tmp_path: Path, prefect_api: str, prefect_home: Path) -> None:
    port, dashboard = free_port(), free_port()
    ffmpeg = slow_ffmpeg(tmp_path / "ffmpeg", "nothing")
    clip = make_clip(tmp_path / "clip.mp4", frames=75, gop=25, options=("-bf", "0"))
    with installation(
        tmp_path / "up",
        prefect_home,
        PREFECT_API_URL=prefect_api,
        STREAMWAVE_SCHEDULER=f"dask://0.0.0.0:{port}",
        STREAMWAVE_DASK_DASHBOARD_PORT=str(dashboard),
        STREAMWAVE_PASSTHROUGH="never",
        FFMPEG_PATH=str(ffmpeg),
    ) as up:
        keys = up.settings.cluster_keys
        wait_for(lambda: "press Ctrl-C" in up.log.read_text(), "the addresses")
        said = up.log.read_text()
        address = f"tls://127.0.0.1:{port}"
        assert f"  Workers     {address} (on other machines, with {keys}: streamwave worker dask://HOST:{port})" in said
        assert f"  Dask        {dashboard_url(dashboard) if has_bokeh() else NO_BOKEH}" in said
        assert httpx.get(f"http://127.0.0.1:{dashboard}/health", **LOCAL).status_code == 200
        # Whoever was killed is there again.
        for part in ("streamwave.cluster.scheduler", "streamwave.cluster.worker"):
            os.kill(up.pid(part), signal.SIGKILL)
        wait_for(lambda: log_of(up, "scheduler").count("listening at") == 2, "the scheduler", 60)
        # The second one may have lost the first scheduler.
        wait_for(lambda: log_of(up, "worker").splitlines()[-1].endswith("ready"), "the worker", 60)
        up.publish_whole(clip, up.add_stream("show"))
        assert_exact(up.finished(up.broadcast("show")), [clip])
        done = up.cli.run(
            "transcode", str(clip.path), "-o", str(tmp_path / "file"), "--workers", f"dask://127.0.0.1:{port}"
        )
        assert done.code == 0, done.err
        assert encoded_at(ffmpeg) == {"worker"}
        # Another machine joins with the key.
        with machines(tmp_path / "others", FFMPEG_PATH=str(ffmpeg)) as others:
            others.address = f"dask://127.0.0.1:{port}"
            others.worker("friend", STREAMWAVE_CLUSTER_KEYS=str(keys))
            assert re.search(rf"2 with \d+ slots at {address}", up.cli.run("doctor").out)
        code, _ = up.stop()
        assert (code, up.processes()) == (130, {})
        assert not log_of(up, "worker").splitlines()[-1].endswith("lost")
