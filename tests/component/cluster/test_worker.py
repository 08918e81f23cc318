"""What a worker is made of, what it is recognized by, and how the commands refuse what cannot work."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from itertools import accumulate
from pathlib import Path

import httpx
import imageio_ffmpeg
import pytest

from streamwave.cli.cluster import next_delay
from streamwave.cluster.cluster import check_workers
from streamwave.cluster.encoder import encoder_digest
from streamwave.cluster.endpoint import Endpoint
from streamwave.cluster.scheduler import NO_BOKEH, has_bokeh
from streamwave.cluster.worker import new_name
from streamwave.errors import StreamWaveError
from tests.support.cli import Cli, slow_ffmpeg
from tests.support.cluster import machines
from tests.support.media import ffmpeg_path
from tests.support.ports import free_port


def test_a_worker_loads_no_orchestration_no_stores_and_no_servers() -> None:
    program = "import streamwave.cluster.worker, streamwave.cluster.bench, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    found = {name.partition(".")[0] for name in done.stdout.split()}
    assert "distributed" in found
    assert (
        found & {"prefect", "fastapi", "uvicorn", "grpc", "s3fs", "aiobotocore", "sqlalchemy", "typer", "flows"}
        == set()
    )


def test_a_scheduler_loads_no_media_code() -> None:
    program = "import streamwave.cluster.order, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert {
        name for name in done.stdout.split() if name.partition(".")[0] in ("av", "ffmpeg", "numpy", "pydantic")
    } == set()


def test_an_encoder_is_recognized_by_what_it_does(tmp_path: Path) -> None:
    ours = encoder_digest(ffmpeg_path())
    assert encoder_digest(str(slow_ffmpeg(tmp_path, "nothing"))) == ours
    assert encoder_digest(imageio_ffmpeg.get_ffmpeg_exe()) != ours


def test_commands_refuse_what_cannot_work(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    nameless = cli.run("worker")
    assert (nameless.code, nameless.out) == (2, "")
    assert nameless.err.startswith("error: name the scheduler: streamwave worker dask://HOST:8786")
    plain = cli.run("worker", "tcp://192.0.2.1:8786")
    assert (plain.code, plain.out) == (2, "")
    assert plain.err.startswith("error: tcp://192.0.2.1:8786 would be an unencrypted connection")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = cli.run("scheduler", f"dask://127.0.0.1:{port}")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith(f"error: cannot listen at tcp://127.0.0.1:{port} (")


def test_a_scheduler_listens_on_ipv6_and_answers_its_own_pages_only(tmp_path: Path) -> None:
    port = free_port()
    with machines(tmp_path, STREAMWAVE_DASK_DASHBOARD_PORT=str(port)) as some:
        some.address = f"dask://[::1]:{some.port}"
        scheduler = some.scheduler()
        some.worker("one")
        # Without Bokeh there is no dashboard, but the same server.
        url = f"http://127.0.0.1:{port}"
        hosts = ["localhost", f"127.0.0.1:{port}", f"page.example:{port}", "", "[::1", "192.0.2.1"]
        answers = [httpx.get(f"{url}/health", headers={"Host": host}).status_code for host in hosts]
        assert answers == [200, 200, 403, 403, 403, 403]
        assert httpx.get(f"{url}/info/main/workers.html").status_code == 404
        taken = some.cli("second").run("scheduler", f"dask://127.0.0.1:{free_port()}")
    assert (taken.code, taken.out) == (2, f"warning: {NO_BOKEH}\n" if not has_bokeh() else "")
    assert taken.err.startswith(f"error: port {port} is in use")
    assert has_bokeh() or scheduler.log.read_text().count(NO_BOKEH) == 1


def test_names_of_workers_do_not_repeat() -> None:
    """As those of hosts and processes do: in a container, a worker has PID 1 after every start."""
    one, other = new_name(), new_name()
    assert one != other
    assert one.startswith(f"{socket.gethostname()}:{os.getpid()}-")


def test_a_worker_is_restarted_at_once_and_then_later_and_later() -> None:
    def delays(status: int) -> list[float]:
        return list(accumulate([status] * 7, next_delay, initial=0.0))

    assert delays(1) == [0, 0.5, 1, 2, 4, 8, 10, 10]
    assert delays(-9) == [0, 0.5, 1, 2, 2, 2, 2, 2]


def test_a_peer_that_says_nothing_is_no_scheduler() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(StreamWaveError, match="does not answer; start `streamwave scheduler` there"),
    ):
        check_workers(Endpoint(address=f"tcp://127.0.0.1:{silent.getsockname()[1]}"), ffmpeg_path())
