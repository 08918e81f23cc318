"""Flow runs on Prefect workers: with STREAMWAVE_WORK_POOL, the service creates runs and workers execute them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from flows.server import prefect_server
from services.processing import attempts
from streamwave.spool.broadcast import BroadcastSpool
from streamwave.spool.remote.exchange import CLEARED
from streamwave.v1 import streamwave_pb2 as pb
from tests.services.processing_case import STUB, Case, eventually, published_by, publisher, refused
from tests.support.cli import ROOT, Cli, copy_database
from tests.support.media import make_clip
from tests.support.player import decode_pictures, representations
from tests.support.prefect_api import AUTH
from tests.support.s3 import S3, s3_server

POOL = "streamwave"
#: Deadline: a worker starts two interpreters for each run, which takes long on a busy machine.
LIMIT_S = 120
#: More chunks than may wait to be published, so reading the source pauses until some are.
CHUNKS = 16


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
        """Run a worker, whose log is ``worker.log``; it is killed with its runs at the end."""
        command = ("worker", "start", "--pool", POOL)
        with (
            (self.cli.folder / "worker.log").open("a") as log,
            self.cli.start(*command, program="prefect", cwd=self.cli.folder, terminal=log.fileno()) as process,
        ):
            yield process


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory, prefect_api: str, prefect_home: Path) -> Iterator[Pool]:
    """A work pool at a server of its own, because other tests use deployments with the same name."""
    tmp_path = tmp_path_factory.mktemp("pool")
    home = tmp_path / "server"
    copy_database(prefect_home, home)
    with prefect_server(home, AUTH) as api:
        extra = {
            "PREFECT_API_URL": api,
            "PREFECT_HOME": str(tmp_path / "home"),
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "STREAMWAVE_STATE_DIR": str(tmp_path / "var"),
        }
        pool = Pool(Cli(tmp_path, extra))
        # The database is a copy in which other tests may have created the same pool.
        pool.prefect("work-pool", "create", "--overwrite", "--type", "process", POOL)
        yield pool


@pytest.fixture(scope="module")
def case(pool: Pool) -> Iterator[Case]:
    """An installation whose flow runs go to the pool."""
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
        answer = rpc.StartStream(pb.StartStreamRequest(stream="film", source=str(clip.path)), timeout=60)
        get = lambda: rpc.GetStream(pb.GetStreamRequest(stream="film")).status  # noqa: E731
        # The service counts them while the broadcast is not finished.
        eventually(lambda: get().attempts == 1, "a run", LIMIT_S)
        eventually(lambda: get().state == pb.STREAM_STATE_FINISHED, "the recording is complete", 2 * LIMIT_S)
        status = get()
        assert status.chunks == clip.chunks and status.attempts <= 1
        eventually(
            lambda: case.run_state(status.flow_run_id) == "COMPLETED", "Prefect knows that it is completed", LIMIT_S
        )
        assert answer.flow_run_id in ("", status.flow_run_id)
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=60)
    output = Path(status.output)
    for rendition in representations(output).values():
        if rendition.kind == "video":
            numbers = [picture.number for picture in decode_pictures(rendition.data, rendition.timescale)]
            assert numbers == list(range(clip.frames))


def test_what_becomes_of_runs_on_workers(case: Case, pool: Pool) -> None:
    """A worker that starts late, a run that is killed, and a run that is cancelled."""
    pool.prefect("deploy", STUB, "--name", "live", "--pool", POOL, "--no-prompt")
    spool, session, segmenter = case.session("cam")
    with case.rpc() as rpc:
        get = lambda: rpc.GetStream(pb.GetStreamRequest(stream="cam")).status  # noqa: E731
        rpc.StartStream(pb.StartStreamRequest(session=session), timeout=60)
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


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture
def stored(pool: Pool, s3: S3, tmp_path: Path) -> Iterator[Case]:
    """The same installation with its spool in a bucket."""
    environment = {
        "STREAMWAVE_WORK_POOL": POOL, "STREAMWAVE_ALLOWED_FILE_ROOTS": str(tmp_path), "STREAMWAVE_SEGMENT_SECONDS": "1",
        "STREAMWAVE_MAX_CHUNKS_IN_FLIGHT": "1", "STREAMWAVE_SPOOL_DIR": "s3://spool/tv", **s3.environment,
    }  # fmt: skip
    case = Case(tmp_path, pool.cli.extra["PREFECT_API_URL"], environment)
    try:
        pool.prefect("deploy", "--prefect-file", "deployments/prefect.yaml", "--all")
        case.start()
        yield case
    finally:
        case.close()


def test_a_worker_elsewhere_publishes_what_is_received_here(
    stored: Case, pool: Pool, s3: S3, tmp_path_factory: pytest.TempPathFactory
) -> None:
    clip = make_clip(stored.folder / "clip.mp4", frames=25 * CHUNKS, gop=25)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    own = {"STREAMWAVE_STATE_DIR": str(elsewhere / "var"), "STREAMWAVE_SPOOL_DIR": "s3://spool/tv"}
    worker = Pool(Cli(elsewhere, {**pool.cli.extra, **s3.environment, **own}))
    with worker.worker(), stored.rpc() as rpc:
        request = pb.StartStreamRequest(stream="film", source=str(clip.path))
        code, message, _ = refused(lambda: rpc.StartStream(request, timeout=60))
        assert code == grpc.StatusCode.FAILED_PRECONDITION
        assert "the spool s3://spool/tv" in message and "there is no such bucket; check STREAMWAVE_SPOOL_DIR" in message
        s3.bucket("spool")
        answer = rpc.StartStream(request, timeout=60)
        spool = BroadcastSpool(stored.spool / "film" / answer.broadcast)
        get = lambda: rpc.GetStream(pb.GetStreamRequest(stream="film")).status  # noqa: E731
        eventually(
            lambda: get().state == pb.STREAM_STATE_LIVE and get().run_alive, "the run is seen from here", LIMIT_S
        )
        eventually(lambda: (spool.folder / CLEARED).exists(), f"all is published; {get()}", LIMIT_S)
        status = get()
        assert (status.state, status.chunks, status.lag_ms) == (pb.STREAM_STATE_FINISHED, CHUNKS, 0), status
        assert (status.received_ms, status.error) == (CHUNKS * 1000, "")
        eventually(lambda: stored.run_state(status.flow_run_id) == "COMPLETED", "Prefect knows of it")
        # After a cancellation in Prefect, the worker ends the run, and what was published becomes the recording.
        long = make_clip(stored.folder / "long.mp4", frames=25 * 120, gop=25)
        rpc.StartStream(pb.StartStreamRequest(stream="long", source=str(long.path)), timeout=60)
        asked = lambda: rpc.GetStream(pb.GetStreamRequest(stream="long")).status  # noqa: E731
        eventually(lambda: asked().run_alive and asked().chunks >= 1, f"a chunk is published; {asked()}", LIMIT_S)
        # After the service was killed and restarted, it finds the run alive and starts no other.
        run = asked().flow_run_id
        stored.end(signal.SIGKILL)
        stored.start()
        before = asked().chunks
        eventually(lambda: asked().run_alive and asked().chunks >= before + 3, f"it goes on; {asked()}", LIMIT_S)
        assert (asked().flow_run_id, asked().attempts) == (run, 0)
        stored.set_state(asked().flow_run_id, "CANCELLING")
        eventually(lambda: asked().state == pb.STREAM_STATE_FINISHED, f"the broadcast is ended; {asked()}", LIMIT_S)
        eventually(lambda: asked().error == "cancelled in Prefect", f"the status says why; {asked()}", LIMIT_S)
        cancelled = BroadcastSpool(stored.spool / "long" / asked().broadcast)
        eventually(lambda: (cancelled.folder / CLEARED).exists(), "nothing of it is left in the bucket", LIMIT_S)
        assert asked().error == "cancelled in Prefect"
    for one in representations(Path(status.output)).values():
        if one.kind == "video":
            assert len(list(decode_pictures(one.data, one.timescale))) == clip.frames
    assert s3.objects("spool") == {}
    assert list((elsewhere / "var" / "replica").iterdir()) == [] and not (elsewhere / "var" / "spool").exists()
