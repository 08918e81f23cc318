"""Helpers for tests of the processing service: the service as a process, sessions, and Prefect's API."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx

from streamwave.spool.broadcast import RUN_LOCK, BroadcastSpool, open_session
from streamwave.util.locks import lock_holder
from streamwave.v1 import streamwave_pb2 as pb
from streamwave.v1.streamwave_pb2_grpc import StreamProcessingStub
from tests.support.ports import free_port
from tests.support.prefect_api import AUTH_ENVIRONMENT, basic
from tests.support.processes import kill, wait_for
from tests.support.rpc import calls

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
STUB = f"{HERE / 'processing_flow.py'}:stub"


#: The service, with more time for a run to start than the 15 s after which it starts another one: a busy machine may need it.
SERVICE = """
import sys
from services.processing import watch
watch.START_LIMIT_S = watch.MAX_START_LIMIT_S
from services.processing.__main__ import main
sys.exit(main())
"""
#: Deadline for things that usually take a second, so that a busy machine fails no test.
LIMIT_S = 120.0


def eventually(condition: Callable[[], Any], what: str, limit_s: float = LIMIT_S) -> Any:
    """Wait until ``condition`` is true; its value."""
    return wait_for(condition, what, limit_s)


@dataclass
class Case:
    """One installation: a spool, a Prefect server, and the service as a process that can be killed."""

    folder: Path
    api: str
    environment: dict[str, str] = field(default_factory=dict)
    flow: str = STUB
    port: int = field(default_factory=free_port)
    window_ms: int = 0
    service: subprocess.Popen[bytes] | None = None
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def spool(self) -> Path:
        return self.folder / "var" / "spool"

    @property
    def log(self) -> str:
        return (self.folder / "service.log").read_text(encoding="utf-8")

    @property
    def settings(self) -> dict[str, str]:
        return {
            "STREAMWAVE_STATE_DIR": str(self.folder / "var"),
            "OUTPUT_DIR": str(self.folder / "out"),
            "PREFECT_API_URL": self.api,
            **AUTH_ENVIRONMENT,
            "STREAMWAVE_GRPC_PORT": str(self.port),
            **self.environment,
        }

    def start(self) -> None:
        """Start the service and wait until it has reached Prefect's server."""
        from grpc_health.v1 import health_pb2, health_pb2_grpc

        with (self.folder / "service.log").open("ab") as log:
            self.service = subprocess.Popen(
                [sys.executable, "-c", SERVICE, self.flow],
                cwd=self.folder, env={**os.environ, **self.settings, "PYTHONPATH": str(ROOT)}, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        service = self.service

        def healthy() -> bool:
            assert service.poll() is None, self.log
            with grpc.insecure_channel(f"127.0.0.1:{self.port}") as channel:
                stub = health_pb2_grpc.HealthStub(channel)
                try:
                    answer = stub.Check(health_pb2.HealthCheckRequest(service="prefect"), timeout=20)
                except grpc.RpcError:
                    return False
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

        eventually(healthy, "the service is up and knows Prefect")

    def end(self, number: signal.Signals) -> None:
        """Send a signal to the service and wait until it has exited."""
        assert self.service is not None
        self.service.send_signal(number)
        self.service.wait(60)

    @contextmanager
    def rpc(self) -> Iterator[StreamProcessingStub]:
        """A channel to the service."""
        with self.channel() as channel:
            yield StreamProcessingStub(channel)

    def channel(self) -> AbstractContextManager[grpc.Channel]:
        """A channel whose calls carry the installation's token."""
        return calls(self.port, self.folder / "var")

    def session(self, stream: str) -> tuple[BroadcastSpool, str, subprocess.Popen[bytes]]:
        """Open a session with a segmenter, as ingest does. Returns the broadcast, the session name and the segmenter."""
        output = str(self.folder / "out")
        # Not empty, because an empty output looks like a disk that is not mounted.
        Path(output).mkdir(exist_ok=True)
        (Path(output) / "broadcasts.json").write_text('{"broadcasts": []}', encoding="utf-8")
        spool, session = open_session(self.spool, stream, output=output, window_ms=self.window_ms, owner="ingest")
        process = subprocess.Popen(
            [sys.executable, str(HERE / "processing_segmenter.py"), str(session)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self.children.append(process)
        return spool, f"{stream}/{spool.broadcast}/{session.name}", process

    def run_state(self, flow_run_id: str) -> str:
        """Type of a flow run's state at Prefect."""
        run = httpx.get(f"{self.api}/flow_runs/{flow_run_id}", auth=basic(), timeout=60, trust_env=False, verify=False)
        return str(run.raise_for_status().json()["state_type"])

    def set_state(self, flow_run_id: str, type_: str) -> None:
        """Set the state of a flow run, as Prefect's UI does."""
        body = {"state": {"type": type_, "name": type_.capitalize()}, "force": True}
        url = f"{self.api}/flow_runs/{flow_run_id}/set_state"
        httpx.post(url, json=body, auth=basic(), timeout=60, trust_env=False, verify=False).raise_for_status()

    def end_streams(self) -> None:
        """Kill all segmenters; the service ends their broadcasts then."""
        for process in self.children:
            process.kill()
            process.wait(60)

    def close(self) -> None:
        """End every process that may still run."""
        if self.service is not None and self.service.poll() is None:
            self.service.kill()
            self.service.wait(60)
        self.end_streams()
        for lock in self.spool.glob(f"*/*/{RUN_LOCK}"):
            pid = lock_holder(lock)
            if pid is not None:
                kill(pid)


def start(case: Case, session: str, **more: Any) -> pb.StartStreamResponse:
    with case.rpc() as rpc:
        answer: pb.StartStreamResponse = rpc.StartStream(pb.StartStreamRequest(session=session, **more), timeout=60)
    return answer


def publisher(spool: BroadcastSpool, not_this: int | None = None, limit_s: float = LIMIT_S) -> int:
    """Wait until a process other than ``not_this`` publishes the broadcast; its pid."""

    def holder() -> int | None:
        pid = lock_holder(spool.folder / RUN_LOCK)
        told = spool.status().get("state") if pid != not_this else None
        return pid if told else None

    return int(eventually(holder, "a run holds the broadcast", limit_s))


def published_by(spool: BroadcastSpool) -> str:
    """Wait until a flow run reports that it publishes the broadcast; its id."""
    publisher(spool)
    return str(spool.status()["flow_run_id"])


def refused(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str, list[Any]]:
    """The status, message and details of a call that must be refused."""
    from google.rpc import error_details_pb2
    from grpc_status import rpc_status

    try:
        call()
    except grpc.RpcError as error:
        status = rpc_status.from_call(error)
        details = []
        for packed in status.details if status else []:
            name = packed.type_url.rpartition(".")[2]
            detail = getattr(error_details_pb2, name)()
            packed.Unpack(detail)
            details.append(detail)
        return error.code(), error.details(), details
    raise AssertionError("the call was granted")
