"""Access to the processing service, its behaviour without Prefect's server, and back-off."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import grpc
import pytest

from flows.server import prefect_server
from services.processing import repair
from services.processing.auth import check_exposure
from services.processing.turns import next_starts
from services.processing.watch import Watch, delay_s, start_limit_s
from streamwave.config.settings import Settings
from streamwave.errors import SettingsError
from streamwave.spool.broadcast import RUN_LOCK, open_session
from streamwave.spool.journal import JournalWriter, end_of
from streamwave.util.locks import lock_holder
from streamwave.v1 import streamwave_pb2 as pb
from tests.services.processing_case import ROOT, Case, eventually, publisher, refused
from tests.support.ports import free_port
from tests.support.prefect_api import AUTH

TOKEN = "correct-horse-battery"


def _all(call: Callable[[], Iterable[object]]) -> list[object]:
    return list(call())


def test_calls_need_the_token_that_is_set(case: Case) -> None:
    case.environment["STREAMWAVE_GRPC_TOKEN"] = TOKEN
    case.start()  # checks health, which needs no token
    request = pb.ListStreamsRequest()
    with case.rpc() as rpc:
        for wrong in ([], [("authorization", TOKEN)], [("authorization", "Bearer wrong")]):
            code, message, _ = refused(partial(rpc.ListStreams, request, metadata=wrong))
            assert code == grpc.StatusCode.UNAUTHENTICATED
            assert TOKEN not in message
            code, _, _ = refused(
                partial(_all, partial(rpc.WatchStream, pb.WatchStreamRequest(stream="a"), metadata=wrong))
            )
            assert code == grpc.StatusCode.UNAUTHENTICATED
        assert not rpc.ListStreams(request, metadata=[("authorization", f"Bearer {TOKEN}")]).streams
    assert TOKEN not in case.log


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "media.example"])
def test_it_does_not_listen_to_others_without_a_token(host: str) -> None:
    with pytest.raises(SettingsError, match="STREAMWAVE_GRPC_TOKEN"):
        check_exposure(Settings.load(env_file=None, grpc_host=host))
    check_exposure(Settings.load(env_file=None, grpc_host=host, grpc_token=TOKEN))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_it_listens_to_this_machine_with_a_token_of_its_own(host: str) -> None:
    check_exposure(Settings.load(env_file=None, grpc_host=host))


def test_a_port_that_is_taken_is_one_line(case: Case) -> None:
    case.start()
    second = subprocess.run(
        [sys.executable, "-m", "services.processing"],
        env={**os.environ, **case.settings, "PYTHONPATH": str(ROOT)}, cwd=case.folder, capture_output=True, timeout=60,
    )  # fmt: skip
    lines = second.stderr.decode().splitlines()
    assert second.returncode != 0
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    assert f"127.0.0.1:{case.port}" in lines[-1]
    assert "Traceback" not in second.stderr.decode()


def test_streams_go_on_while_prefect_is_away(tmp_path: Path) -> None:
    port = free_port()
    case = Case(tmp_path, f"http://127.0.0.1:{port}/api")
    try:
        with prefect_server(tmp_path / "prefect", AUTH, port=port):
            case.start()
            spool, session, _ = case.session("cam")
            with case.rpc() as rpc:
                rpc.StartStream(pb.StartStreamRequest(session=session))
            pid = publisher(spool)
        eventually(lambda: "does not answer" in case.log, "the service has noticed")
        late, waiting, _ = case.session("late")
        with case.rpc() as rpc:
            answer = rpc.StartStream(pb.StartStreamRequest(session=waiting), timeout=60)
            assert (answer.flow_run_id, answer.state) == ("", pb.STREAM_STATE_STARTING)
            eventually(
                lambda: "does not answer" in rpc.GetStream(pb.GetStreamRequest(stream="late")).status.error,
                "the state says why nothing runs",
            )
        (spool.folder / "000000" / "more").touch()
        eventually(lambda: spool.status()["chunks"] == 2, "the stream goes on")
        assert lock_holder(spool.folder / RUN_LOCK) == pid
        with prefect_server(tmp_path / "prefect", AUTH, port=port):
            publisher(late)
            assert lock_holder(spool.folder / RUN_LOCK) == pid
            case.end(signal.SIGTERM)
    finally:
        case.close()


def test_back_off_grows_to_its_bound_and_a_healthy_run_resets_it() -> None:
    assert [delay_s(n) for n in range(1, 9)] == [0, 1, 2, 4, 8, 16, 30, 30]
    assert [delay_s(n, receiving=False) for n in (1, 2, 8, 10, 11, 5000)] == [0, 1, 64, 256, 300, 300]
    watch = Watch()
    for _ in range(5):
        watch.died("x")
    assert watch.failed
    watch.alive()
    assert watch.alive_since is not None
    watch.alive_since -= 31
    watch.died("x")
    assert watch.failures == 1


def test_what_is_stuck_waits_longer_and_for_everybody_else() -> None:
    stuck, live = Watch(receiving=False, waiting_since=1.0), Watch(waiting_since=2.0, tried_at=5.0)
    assert next_starts({"stuck": stuck, "live": live}, 1) == ["stuck"]
    for _ in range(12):
        stuck.alive()
        assert stuck.alive_since is not None
        stuck.alive_since -= 600  # its run has waited for an output all the time
        stuck.alive()
        stuck.died("no such bucket")
    assert stuck.next_start_at - time.monotonic() > 290
    assert next_starts({"stuck": stuck, "live": live}, 1) == ["live"]


def test_sessions_without_an_end_get_one_whichever_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The publisher reconnected after its first segmenter was killed."""
    monkeypatch.setattr(repair, "WITHOUT_WRITER_S", 0.0)
    monkeypatch.setattr(repair, "START_S", 0.0)
    spool, first = open_session(tmp_path, "cam", output=str(tmp_path / "out"), window_ms=60_000)
    second = spool.add_session()
    assert second is not None
    writer, watch = JournalWriter(second), Watch()
    try:
        repair.end_cut_off_sessions(spool, watch)
        assert end_of(first) is not None and end_of(second) is None and watch.receiving
    finally:
        writer.close()
    repair.end_cut_off_sessions(spool, watch)
    assert end_of(second) is not None
    repair.end_cut_off_sessions(spool, watch)
    assert not watch.receiving


def test_whoever_waits_for_a_run_gets_one_in_turn() -> None:
    """Ten streams share two slots; the first two fail at every start and must not keep the others waiting."""
    watches = {number: Watch(waiting_since=float(number)) for number in range(10)}
    started: list[int] = []
    for now in range(1, 11):
        for chosen in next_starts(watches, 2):
            started.append(chosen)
            watches[chosen].tried_at = float(now)
            if chosen > 1:
                del watches[chosen]
    assert started[:10] == list(range(10))
    assert set(started[10:]) == {0, 1}
    assert next_starts(watches, 0) == next_starts(watches, -1) == []


def test_a_start_is_given_more_time_the_more_often_it_took_too_long() -> None:
    limits = [start_limit_s(failures) for failures in range(12)]
    assert limits[:4] == [15, 30, 60, 120]
    assert set(limits[4:]) == {120}
