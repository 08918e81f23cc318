"""Flow runs on Prefect's workers: with STREAMWAVE_WORK_POOL the service creates them, and a worker executes them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from flows.server import prefect_server
from services.processing import attempts
from streamwave.v1 import streamwave_pb2 as pb
from tests.services.processing_case import STUB, Case, eventually, published_by, publisher
from tests.support.cli import ROOT, Cli, copy_database
from tests.support.media import make_clip
from tests.support.player import decode_pictures, representations

POOL = "streamwave"
#: A worker starts two interpreters for a run, and a busy machine takes its time.
LIMIT_S = 120


@dataclass
class Pool:
    """A Prefect server with a work pool."""

    cli: Cli

    def prefect(self, *arguments: str) -> str:
        done = self.cli.run(*arguments, program="prefect", cwd=ROOT)
        assert done.code == 0, done.out + done.err
        return done.out

    @contextmanager
    def worker(self) -> Iterator[subprocess.Popen[str]]:
        """A worker, which is killed with its runs at the end; it writes to ``worker.log``."""
        command = ("worker", "start", "--pool", POOL)
        with (
            (self.cli.folder / "worker.log").open("a") as log,
            self.cli.start(*command, program="prefect", cwd=self.cli.folder, terminal=log.fileno()) as process,
        ):
            yield process


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory, prefect_api: str, prefect_home: Path) -> Iterator[Pool]:
    """A work pool at a server of its own: deployments of the same name elsewhere are other tests'."""
    tmp_path = tmp_path_factory.mktemp("pool")
    home = tmp_path / "server"
    copy_database(prefect_home, home)
    with prefect_server(home) as api:
        extra = {
            "PREFECT_API_URL": api,
            "PREFECT_HOME": str(tmp_path / "home"),
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "STREAMWAVE_STATE_DIR": str(tmp_path / "var"),
        }
        pool = Pool(Cli(tmp_path, extra))
        # The database is a copy of one that other tests may have made the same pool in.
        pool.prefect("work-pool", "create", "--overwrite", "--type", "process", POOL)
        yield pool


@pytest.fixture(scope="module")
def case(pool: Pool) -> Iterator[Case]:
    """The service; its flow runs are the pool's."""
    films = pool.cli.folder / "films"
    films.mkdir()
    environment = {"STREAMWAVE_WORK_POOL": POOL, "STREAMWAVE_ALLOWED_FILE_ROOTS": str(films)}
    case = Case(pool.cli.folder, pool.cli.extra["PREFECT_API_URL"], environment)
    try:
        pool.prefect("deploy", "--prefect-file", "deployments/prefect.yaml", "--all")
        case.start()
        yield case
    finally:
        case.close()


def test_a_stream_is_published_by_a_worker(case: Case, pool: Pool) -> None:
    """The commands of deployments/prefect.yaml, then StartStream."""
    clip = make_clip(case.folder / "films" / "clip.mp4", frames=150)
    with pool.worker() as worker, case.rpc() as rpc:
        answer = rpc.StartStream(pb.StartStreamRequest(stream="film", source=str(clip.path)), timeout=30)
        get = lambda: rpc.GetStream(pb.GetStreamRequest(stream="film")).status  # noqa: E731
        eventually(lambda: get().state == pb.STREAM_STATE_FINISHED, "the recording is complete", 2 * LIMIT_S)
        status = get()
        assert (status.chunks, status.attempts) == (clip.chunks, 1)
        eventually(
            lambda: case.run_state(status.flow_run_id) == "COMPLETED", "Prefect knows that it is completed", LIMIT_S
        )
        assert answer.flow_run_id in ("", status.flow_run_id)
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=30)
    output = Path(status.output)
    for rendition in representations(output).values():
        if rendition.kind == "video":
            numbers = [picture.number for picture in decode_pictures(rendition.data, rendition.timescale)]
            assert numbers == list(range(clip.frames))


def test_what_becomes_of_runs_on_workers(case: Case, pool: Pool) -> None:
    """A worker that comes late, a run that is killed, and one that is cancelled."""
    pool.prefect("deploy", STUB, "--name", "live", "--pool", POOL, "--no-prompt")
    spool, session, segmenter = case.session("cam")
    with case.rpc() as rpc:
        get = lambda: rpc.GetStream(pb.GetStreamRequest(stream="cam")).status  # noqa: E731
        rpc.StartStream(pb.StartStreamRequest(session=session), timeout=30)
        eventually(lambda: "no worker" in get().error, "the status says that there is no worker")
        first = get().flow_run_id
        with pool.worker():
            pid = publisher(spool, limit_s=LIMIT_S)
            assert (published_by(spool), get().attempts) == (first, 1)
            os.kill(pid, signal.SIGKILL)
            eventually(lambda: case.run_state(first) == "CRASHED", "Prefect knows of the crash", LIMIT_S)
            publisher(spool, not_this=pid, limit_s=LIMIT_S)
            second = eventually(lambda: (told := get().flow_run_id) != first and told, "the second run is named")
            case.set_state(second, "CANCELLING")
            eventually(lambda: spool.finished and segmenter.poll() is not None, "the broadcast is finished", LIMIT_S)
            eventually(lambda: case.run_state(second) == "CANCELLED", "Prefect knows that it is cancelled", LIMIT_S)
            assert get().error == "cancelled in Prefect"
    assert attempts.read(spool.folder) is not None
    assert not spool.run_alive()
