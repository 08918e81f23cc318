"""Fuzzes every method of a real processing service. UNKNOWN, INTERNAL and UNAVAILABLE are findings."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
from google.protobuf.message import DecodeError, Message

from streamwave.spool.broadcast import open_session
from streamwave.spool.ending import end_journal
from streamwave.v1 import streamwave_pb2 as pb
from tests.fuzz.mutate import mutate
from tests.fuzz.report import Findings, Row
from tests.fuzz.suites import Budget, suite
from tests.support.ports import free_port
from tests.support.processes import wait_for
from tests.support.rpc import calls

#: Time-out of a call in seconds: the service answers within two, but the machine may be busy.
DEADLINE_S = 90.0
MOST_RSS_MB = 768
_SERVICE = pb.DESCRIPTOR.services_by_name["StreamProcessing"]
_ROOT = Path(__file__).resolve().parents[2]
#: Statuses that the service must not return; UNAVAILABLE means that the connection is dead.
_FAILED = (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE)
_TEXTS = (
    "cam1",
    "",
    "a" * 300,
    "cam1/x/y",
    "\0",
    "../..",
    "Ä",
    "http://[",
    "rtmp://127.0.0.1:1/x/y",
    "file:/dev/zero",
    "file://[",
)


class Service:
    """``python -m services.processing`` in its own folder, with one session in its spool and without Prefect."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port, self.log = folder, free_port(), folder / "service.log"
        self.process: subprocess.Popen[bytes] | None = None
        spool, session = open_session(
            folder / "var" / "spool", "cam1", output=str(folder / "out"), window_ms=0, owner="x"
        )
        end_journal(session, "stopped", None)
        self.session = f"cam1/{spool.broadcast}/{session.name}"
        self.broadcast = spool.broadcast

    def start(self) -> None:
        """Start the service, and wait until it answers."""
        ours = {
            "STREAMWAVE_STATE_DIR": str(self.folder / "var"),
            "OUTPUT_DIR": str(self.folder / "out"),
            "PREFECT_API_URL": f"http://127.0.0.1:{free_port()}/api",
            "STREAMWAVE_GRPC_PORT": str(self.port),
            "PYTHONPATH": str(_ROOT),
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.processing"],
                cwd=self.folder, env={**os.environ, **ours}, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        process = self.process

        def answers() -> bool:
            assert process.poll() is None, self.log.read_text()
            with grpc.insecure_channel(f"127.0.0.1:{self.port}") as channel:
                try:
                    grpc.channel_ready_future(channel).result(1)
                except grpc.FutureTimeoutError:
                    return False
            return True

        wait_for(answers, "the processing service", 120)

    def close(self) -> None:
        """End it."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            finally:
                self.process.kill()
                self.process.wait()

    def rss_mb(self) -> int:
        """Peak memory of the service."""
        assert self.process is not None
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")), 0)


@contextmanager
def serving() -> Iterator[Service]:
    """A running service."""
    with tempfile.TemporaryDirectory(prefix="streamwave-fuzz-") as folder:
        service = Service(Path(folder))
        try:
            service.start()
            yield service
        finally:
            service.close()


@suite("grpc")
def run(budget: Budget, findings: Findings) -> Iterator[Row]:
    """A row for each method."""
    methods = [method.name for method in _SERVICE.methods if budget.wants(method.name)]
    if not methods:
        return
    with serving() as service, calls(service.port, service.folder / "var") as channel:
        for name in methods:
            part = Budget(budget.seed, budget.shared(len(methods)).seconds, budget.inputs)
            row, statuses = Row("grpc", name), Counter[str]()
            for chance in part.steps():
                request = damaged(name, service, chance)
                row.inputs += 1
                status = call(channel, name, request)
                statuses[status.name] += 1
                row.hangs += status is grpc.StatusCode.DEADLINE_EXCEEDED
                # gRPC itself answers undecodable protobuf with INTERNAL.
                failed = status in _FAILED and (status is not grpc.StatusCode.INTERNAL or _is_decodable(name, request))
                row.server_errors += failed
                if failed or status is grpc.StatusCode.DEADLINE_EXCEEDED:
                    findings.keep(row, "status", request, status.name)
                if service.process is not None and service.process.poll() is not None:
                    row.crashes += 1
                    findings.keep(row, "death", request, service.log.read_text()[-4000:])
                    service.start()
                findings.progress(row)
            row.max_rss_mb = service.rss_mb()
            row.over_memory = int(row.max_rss_mb > MOST_RSS_MB)
            row.notes.append(", ".join(f"{count} {status}" for status, count in sorted(statuses.items())))
            findings.progress(row, last=True)
            yield row


def damaged(name: str, service: Service, chance: random.Random) -> bytes:
    """A request of the method with odd field values; in every second one the bytes are mutated too."""
    kind: type[Message] = getattr(pb, _SERVICE.methods_by_name[name].input_type.name)
    request = kind()
    for field in kind.DESCRIPTOR.fields:
        if chance.randrange(2):
            continue
        if field.message_type is not None:  # all maps have string values
            for _ in range(chance.choice((1, 2, 40))):
                getattr(request, field.name)[_text(chance, "title")] = _text(chance, "7")
        elif field.cpp_type == field.CPPTYPE_STRING:
            known = {"session": service.session, "broadcast": service.broadcast}.get(field.name, "cam1")
            setattr(request, field.name, _text(chance, known))
        elif field.cpp_type == field.CPPTYPE_BOOL:
            setattr(request, field.name, True)
        else:
            setattr(request, field.name, chance.choice((-1, 0, 1, 500, 501, (1 << 31) - 1, -(1 << 31))))
    data = request.SerializeToString(deterministic=True)
    return mutate(data, chance, 3) if chance.randrange(2) else data


def _text(chance: random.Random, known: str) -> str:
    return known if chance.randrange(3) else chance.choice(_TEXTS)


def call(channel: grpc.Channel, name: str, request: bytes) -> grpc.StatusCode:
    """The status of the answer."""
    method = _SERVICE.methods_by_name[name]
    path = f"/{_SERVICE.full_name}/{name}"
    try:
        if method.server_streaming:
            watched = channel.unary_stream(path)(request, timeout=DEADLINE_S)
            next(iter(watched), None)
            watched.cancel()
        else:
            channel.unary_unary(path)(request, timeout=DEADLINE_S)
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return grpc.StatusCode.OK


def _is_decodable(name: str, request: bytes) -> bool:
    kind = getattr(pb, _SERVICE.methods_by_name[name].input_type.name)
    try:
        kind.FromString(request)
    except DecodeError:
        return False
    return True
