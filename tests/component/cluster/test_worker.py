"""What a worker is made of, what it is recognized by, and how the commands refuse what cannot work."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import pytest

from streamwave.cluster.cluster import check_workers
from streamwave.cluster.encoder import encoder_digest
from streamwave.cluster.endpoint import Endpoint
from streamwave.errors import StreamWaveError
from tests.support.cli import Cli, slow_ffmpeg
from tests.support.cluster import machines
from tests.support.media import ffmpeg_path


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


def test_a_scheduler_listens_on_ipv6(tmp_path: Path) -> None:
    with machines(tmp_path) as some:
        some.address = f"dask://[::1]:{some.port}"
        some.scheduler()
        some.worker("one")


def test_a_peer_that_says_nothing_is_no_scheduler() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(StreamWaveError, match="does not answer; start `streamwave scheduler` there"),
    ):
        check_workers(Endpoint(address=f"tcp://127.0.0.1:{silent.getsockname()[1]}"), ffmpeg_path())
