"""The processing service: starts, crashes, cancellations and restarts, with a real Prefect server and a small flow."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import grpc
import pytest

from streamwave.spool.broadcast import RUN_LOCK
from streamwave.spool.journal import writer_alive
from streamwave.util.locks import lock_holder
from streamwave.v1 import streamwave_pb2 as pb
from tests.services.processing_case import ROOT, Case, eventually, published_by, publisher, refused, start
from tests.support.prefect_api import AUTH_ENVIRONMENT


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Iterator[Case]:
    """One installation whose service runs, for all tests, each of which has its own streams there."""
    case = Case(tmp_path_factory.mktemp("service"), prefect_api)
    try:
        case.start()
        yield case
    finally:
        case.close()


@pytest.fixture
def case(service: Case) -> Iterator[Case]:
    """The running service; streams that a test leaves live are ended."""
    yield service
    service.end_streams()


def test_a_session_gets_one_run_which_finishes_it(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    spool, session, segmenter = case.session("cam")
    began = time.monotonic()
    first = start(case, session, metadata={"title": "Der Tag", "fps": "30"})
    answered = time.monotonic() - began
    publisher(spool)
    with capsys.disabled():
        print(f"\nStartStream: answered {answered:.2f} s, run holds the broadcast {time.monotonic() - began:.2f} s")
    assert (first.broadcast, first.output) == (spool.broadcast, spool.info().output)
    flow_run_id = published_by(spool)
    assert first.flow_run_id in (flow_run_id, "")  # empty if Prefect's server was too slow
    assert case.run_state(flow_run_id) == "RUNNING"

    again = start(case, session)
    assert (again.flow_run_id, again.created) == (flow_run_id, False)

    (spool.folder / "000000" / "more").touch()
    with case.rpc() as rpc:
        get = lambda: rpc.GetStream(pb.GetStreamRequest(stream="cam")).status  # noqa: E731
        eventually(lambda: get().chunks == 2, "two chunks are counted")
        status = get()
        assert status.state == pb.STREAM_STATE_LIVE
        assert (status.run_alive, status.receiving, status.sessions, status.attempts) == (True, True, 1, 1)
        assert dict(status.metadata) == {"title": "Der Tag", "fps": "30"}
        assert dict(status.bitrates_bps) == {"360p": 800_000}
        assert status.published_ms == 4000

        stopped = rpc.StopStream(pb.StopStreamRequest(session=session))
        assert list(stopped.sessions) == [session]
        eventually(lambda: get().state == pb.STREAM_STATE_FINISHED, "the broadcast is finished")
        eventually(lambda: case.run_state(flow_run_id) == "COMPLETED", "Prefect knows that it is completed")
        assert not rpc.StopStream(pb.StopStreamRequest(session=session)).sessions
        assert start(case, session).state == pb.STREAM_STATE_FINISHED
        assert [s.broadcast for s in rpc.ListStreams(pb.ListStreamsRequest()).streams] == []
        finished = rpc.ListStreams(pb.ListStreamsRequest(stream="cam", include_finished=True)).streams
        assert [s.broadcast for s in finished] == [spool.broadcast]
        # The chunks are gone but the session's name stays valid, unlike the name of a session that never existed.
        eventually(lambda: spool.sessions() == [], "the spool of its session is gone")
        assert (get().sessions, get().last_session) == (1, session)
        assert start(case, session).state == pb.STREAM_STATE_FINISHED
        never = session[:-1] + "7"
        for call in (
            lambda: rpc.StartStream(pb.StartStreamRequest(session=never)),
            lambda: rpc.StopStream(pb.StopStreamRequest(session=never)),
            lambda: rpc.ForwardMetadata(pb.ForwardMetadataRequest(session=never, metadata={"title": "x"})),
        ):
            code, message, details = refused(call)
            assert (code, details[0].resource_name) == (grpc.StatusCode.NOT_FOUND, never), message
    assert segmenter.wait(60) == 0


def test_watching_shows_changes_and_ends_with_the_broadcast(case: Case) -> None:
    spool, session, _ = case.session("watched")
    start(case, session)
    with case.rpc() as rpc:
        seen = rpc.WatchStream(pb.WatchStreamRequest(stream="watched"), timeout=90)
        states, chunks = [], []
        for answer in seen:
            if answer.status.state not in states:
                states.append(answer.status.state)
            chunks.append(answer.status.chunks)
            if answer.status.chunks == 1 and answer.status.run_alive:
                (spool.folder / "000000" / "more").touch()
            if answer.status.chunks == 2:
                rpc.StopStream(pb.StopStreamRequest(stream="watched"))
        assert states[-1] == pb.STREAM_STATE_FINISHED
        assert pb.STREAM_STATE_LIVE in states
        assert chunks == sorted(chunks)
        assert chunks[-1] == 2

        spool, session, _ = case.session("watched")
        start(case, session)
        late = rpc.WatchStream(pb.WatchStreamRequest(stream="watched"), timeout=1)
        with pytest.raises(grpc.RpcError) as over:
            list(late)
        assert over.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_killed_run_is_replaced_within_seconds(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    spool, session, _ = case.session("killed")
    start(case, session)
    pid = publisher(spool)
    first = published_by(spool)
    began = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    second_pid = publisher(spool, not_this=pid)
    took = time.monotonic() - began
    with capsys.disabled():
        print(f"\nkill -9 of the run: the next one holds the broadcast after {took:.2f} s")
    assert second_pid != pid
    second = eventually(lambda: (i := start(case, session).flow_run_id) != first and i, "the new run is named")
    assert case.run_state(second) == "RUNNING"
    eventually(lambda: case.run_state(first) == "CRASHED", "Prefect knows that the first one crashed")
    assert lock_holder(spool.folder / RUN_LOCK) == second_pid


def test_a_cancelled_run_is_not_replaced(case: Case) -> None:
    spool, session, segmenter = case.session("cancelled")
    start(case, session)
    pid = publisher(spool)
    flow_run_id = published_by(spool)
    case.set_state(flow_run_id, "CANCELLING")
    # Long before Prefect itself would kill the run, which is after 30 s.
    eventually(
        lambda: not Path(f"/proc/{pid}").exists() and segmenter.poll() is not None, "run and segmenter are gone", 25
    )
    eventually(lambda: spool.finished, "the broadcast is finished")
    eventually(lambda: case.run_state(flow_run_id) == "CANCELLED", "Prefect knows that it is cancelled")
    with case.rpc() as rpc:
        status = rpc.GetStream(pb.GetStreamRequest(stream="cancelled")).status
    assert (status.state, status.flow_run_id) == (pb.STREAM_STATE_FINISHED, flow_run_id)
    assert status.error == "cancelled in Prefect"
    assert json.loads((spool.folder / "run.json").read_text())["number"] == 1


def test_a_run_that_always_fails_is_tried_again_and_says_so(case: Case) -> None:
    spool, session, _ = case.session("failing")
    (spool.folder / "fail").touch()
    start(case, session)
    with case.rpc() as rpc:
        get = lambda: rpc.GetStream(pb.GetStreamRequest(stream="failing")).status  # noqa: E731
        eventually(lambda: get().state == pb.STREAM_STATE_FAILED, "the state says that it fails", 240)
        assert "told to fail" in get().error
        assert get().attempts >= 3
    (spool.folder / "fail").unlink()
    publisher(spool)


def test_the_broadcast_of_a_dead_segmenter_ends(case: Case) -> None:
    spool, session, segmenter = case.session("dead")
    start(case, session)
    publisher(spool)
    segmenter.kill()
    eventually(lambda: spool.finished, "its session gets an end")


def test_what_is_asked_wrongly_is_refused_with_details(case: Case) -> None:
    _, session, _ = case.session("asked")
    wrong = [
        (lambda r: r.GetStream(pb.GetStreamRequest(stream="../cam")), "stream"),
        (lambda r: r.GetStream(pb.GetStreamRequest(stream="%2e%2e")), "stream"),
        (lambda r: r.GetStream(pb.GetStreamRequest(stream="cam\0")), "stream"),
        (lambda r: r.GetStream(pb.GetStreamRequest(stream="c" * 10_000)), "stream"),
        (lambda r: r.GetStream(pb.GetStreamRequest(stream="🎥")), "stream"),
        (lambda r: r.GetStream(pb.GetStreamRequest(stream="a b")), "stream"),
        (lambda r: r.StartStream(pb.StartStreamRequest(stream="../x", source="http://x/y")), "stream"),
        (lambda r: r.StartStream(pb.StartStreamRequest(stream="", source="http://x/y")), "stream"),
        (lambda r: r.StartStream(pb.StartStreamRequest(stream="x", source="http://x/y", title="a\nb")), "title"),
        (lambda r: r.StartStream(pb.StartStreamRequest(stream="x", source="http://x/y", session=session)), "session"),
        (lambda r: r.StopStream(pb.StopStreamRequest(stream="%2e%2e")), "stream"),
        (lambda r: list(r.WatchStream(pb.WatchStreamRequest(stream=".."))), "stream"),
        (lambda r: r.ListStreams(pb.ListStreamsRequest(stream="/etc")), "stream"),
        (lambda r: r.ForwardMetadata(pb.ForwardMetadataRequest(session="../../000000")), "session"),
        (lambda r: r.GetStream(pb.GetStreamRequest(stream="cam", broadcast="..")), "broadcast"),
        (lambda r: r.StartStream(pb.StartStreamRequest(session="cam/../000000")), "session"),
        (lambda r: r.StartStream(pb.StartStreamRequest(session="")), "session"),
        (lambda r: r.StartStream(pb.StartStreamRequest(session=session, stream="other")), "stream"),
        (lambda r: r.StartStream(pb.StartStreamRequest(session=session, metadata={"fps": "fast"})), "metadata[fps]"),
        (lambda r: r.StopStream(pb.StopStreamRequest()), "target"),
        (lambda r: r.ListStreams(pb.ListStreamsRequest(limit=501)), "limit"),
        (lambda r: r.ForwardMetadata(pb.ForwardMetadataRequest(session=session, metadata={"a b": "c"})), "metadata"),
        (lambda r: r.ForwardMetadata(pb.ForwardMetadataRequest(session=session, metadata={"a": "\n"})), "metadata[a]"),
    ]  # fmt: skip
    with case.rpc() as rpc:
        for call, field in wrong:
            code, message, details = refused(partial(call, rpc))
            assert (code, details[0].field_violations[0].field) == (grpc.StatusCode.INVALID_ARGUMENT, field), message
        code, _, details = refused(lambda: rpc.GetStream(pb.GetStreamRequest(stream="nobody")))
        assert (code, details[0].resource_name) == (grpc.StatusCode.NOT_FOUND, "nobody")
        code, _, _ = refused(lambda: rpc.StartStream(pb.StartStreamRequest(session=session[:-1] + "7")))
        assert code == grpc.StatusCode.NOT_FOUND
        code, _, _ = refused(lambda: rpc.GetStream(pb.GetStreamRequest(stream="c" * 100_000)))
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED

        many = {f"k{n}": "v" for n in range(32)}
        kept = rpc.ForwardMetadata(pb.ForwardMetadataRequest(session=session, metadata=many)).metadata
        assert dict(kept) == many
        code, _, _ = refused(
            lambda: rpc.ForwardMetadata(pb.ForwardMetadataRequest(session=session, metadata={"x": "y"}))
        )
        assert code == grpc.StatusCode.INVALID_ARGUMENT
        kept = rpc.ForwardMetadata(pb.ForwardMetadataRequest(session=session, metadata={"k0": "", "x": "y"})).metadata
        assert len(kept) == 32
        assert "k0" not in kept


def test_a_late_stop_of_an_old_session_leaves_its_successor_alone(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(case, "window_ms", 60_000)
    spool, old, first = case.session("back")
    eventually(lambda: writer_alive(spool.folder / "000000"), "the first segmenter receives")
    start(case, old)
    with case.rpc() as rpc:
        rpc.StopStream(pb.StopStreamRequest(session=old))
        assert first.wait(60) == 0
        same, new, second = case.session("back")
        assert same.folder == spool.folder
        eventually(lambda: writer_alive(spool.folder / "000001"), "the second segmenter receives")
        assert not rpc.StopStream(pb.StopStreamRequest(session=old, finish_now=True)).sessions
        assert second.poll() is None
        assert not spool.closed
        assert start(case, new).flow_run_id == start(case, old).flow_run_id
        assert list(rpc.StopStream(pb.StopStreamRequest(stream="back", finish_now=True)).sessions) == [new]
    eventually(lambda: spool.finished, "it is finished without waiting for the reconnect window")


def test_reflection_lists_the_service_and_health_knows_it(case: Case) -> None:
    from google.protobuf.descriptor_pool import DescriptorPool
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

    with case.channel() as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert "streamwave.v1.StreamProcessing" in database.get_services()
        service = DescriptorPool(database).FindServiceByName("streamwave.v1.StreamProcessing")
        assert {method.name for method in service.methods} == {
            "StartStream", "StopStream", "ForwardMetadata", "GetStream", "ListStreams", "WatchStream",
        }  # fmt: skip
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", "streamwave.v1.StreamProcessing", "prefect"):
            answer = health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_a_run_by_hand_is_executed(case: Case, tmp_path: Path) -> None:
    target = tmp_path / "by-hand"
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "deployment", "run", "live-stream/live"]
        + ["-p", f"source={target}", "-p", "stream=cam"],
        env={**os.environ, **AUTH_ENVIRONMENT, "PREFECT_API_URL": case.api, "PREFECT_HOME": str(tmp_path / "home")},
        cwd=ROOT, capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    eventually(lambda: target.exists() and target.read_text() == "cam by hand", "the flow run ran")
