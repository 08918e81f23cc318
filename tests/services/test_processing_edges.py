"""The processing service under attack: connections, malformed requests, internal sources, and logs."""

from __future__ import annotations

import io
import logging
import socket
from functools import partial
from pathlib import Path
from typing import Any

import grpc

from services.processing.faults import answers
from services.processing.service import MAX_CONNECTIONS
from streamwave.util.logs import LOG_BYTES, OneLine
from streamwave.v1 import streamwave_pb2 as pb
from tests.services.processing_case import Case, eventually, publisher, refused
from tests.support.cli import Cli
from tests.support.half_open import half_open, still_open
from tests.support.processes import marked

LIST = "/streamwave.v1.StreamProcessing/ListStreams"
WATCH = "/streamwave.v1.StreamProcessing/WatchStream"


def _overfill(path: Path) -> None:
    with path.open("ab") as log:
        log.write(b"something that somebody made it say\n" * (2 * LOG_BYTES // 36))


def _is_short(path: Path) -> bool:
    return path.stat().st_size <= LOG_BYTES


def _over(connections: list[socket.socket]) -> bool:
    return not still_open(connections)


def _all(call: Any, body: bytes) -> list[object]:
    return list(call(body, timeout=60))


def test_strangers(case: Case, prefect_home: Path) -> None:
    """Everything that strangers can send, to one service."""
    case.start()
    assert case.service is not None
    log, descriptors = case.folder / "service.log", Path(f"/proc/{case.service.pid}/fd")
    before = log.stat().st_size
    for begun in (b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
        with half_open(case.port, 3000, begun) as waiting:
            with case.rpc() as rpc:
                rpc.ListStreams(pb.ListStreamsRequest(), timeout=60, wait_for_ready=True)
            assert len(list(descriptors.iterdir())) < MAX_CONNECTIONS + 100
            eventually(partial(_over, waiting), "the end of 3,000 half-open connections")
    for number in range(300):
        with socket.create_connection(("127.0.0.1", case.port)) as connection:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(range(number % 256)) * 3)

    # More malformed requests than a connection has streams.
    with case.channel() as channel:
        unary, stream = channel.unary_unary(LIST), channel.unary_stream(WATCH)
        for body in (b"\xff\xff\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x02\xc3\x28", b"\x0b"):
            for _ in range(40):
                code, message, _ = refused(partial(unary, body, timeout=60, wait_for_ready=True))
                assert code == grpc.StatusCode.INVALID_ARGUMENT and "not a message" in message
            code, _, _ = refused(partial(_all, stream, body))
            assert code == grpc.StatusCode.INVALID_ARGUMENT
        code, _, _ = refused(lambda: unary(bytes(100_000), timeout=60))
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert log.stat().st_size - before < 4000, case.log
    assert "Traceback" not in case.log

    with case.rpc() as rpc, socket.create_server(("127.0.0.1", 0)) as server:
        port, said = server.getsockname()[1], set()
        for source in (f"http://127.0.0.1:{port}/", "http://127.0.0.1:1/", f"rtmps://127.0.0.1:{port}/a/b"):
            request = pb.StartStreamRequest(stream="inside", source=source)
            code, message, details = refused(partial(rpc.StartStream, request, timeout=60))
            assert code == grpc.StatusCode.INVALID_ARGUMENT and details[0].field_violations[0].field == "source"
            said.add(message)
        assert len(said) == 1 and "STREAMWAVE_SOURCE_HOSTS" in said.pop()
    assert not (case.spool / "inside").exists()

    # The logs of the flow run and of Prefect's server are bounded.
    spool, session, _ = case.session("cam")
    with case.rpc() as rpc:
        rpc.StartStream(pb.StartStreamRequest(session=session), timeout=60)
    publisher(spool)
    for path in (spool.folder / "run.log", prefect_home / "server.log"):
        _overfill(path)
        eventually(partial(_is_short, path), f"a short {path.name}")


def test_what_nobody_foresaw_is_one_line() -> None:
    class Service:
        @answers
        def method(self, request: object, context: grpc.ServicerContext) -> None:
            raise KeyError("secret\nof two lines")

    class Context:
        status: Any = None

        def abort_with_status(self, status: Any) -> None:
            self.status = status

    log, written, context = logging.getLogger("streamwave.processing"), io.StringIO(), Context()
    handler = logging.StreamHandler(written)
    handler.setFormatter(OneLine())
    log.addHandler(handler)
    try:
        Service().method(object(), context)
    finally:
        log.removeHandler(handler)
    assert context.status.code == grpc.StatusCode.INTERNAL and "secret" not in context.status.details
    (line,) = written.getvalue().splitlines()
    assert "KeyError" in line and "test_processing_edges.py:" in line


def test_up_ends_where_a_part_refuses_its_settings(cli: Cli) -> None:
    cli.extra.update({"STREAMWAVE_GRPC_HOST": "0.0.0.0", "OUTPUT_DIR": str(cli.folder / "out"), "COLUMNS": "500"})
    done = cli.run("up", timeout_s=150)
    assert done.code == 2, done
    assert done.err.startswith("error: processing: STREAMWAVE_GRPC_HOST is") and done.err.count("\n") == 1, done
    assert marked(cli.mark) == {}
