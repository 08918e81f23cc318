"""The processing service with many streams, damaged spools, and streams that are published and pulled at once."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import grpc

from services.processing import attempts
from streamwave.spool.broadcast import INFO, StreamLiveError, broadcasts, open_session
from streamwave.spool.journal import was_opened, writer_alive
from streamwave.v1 import streamwave_pb2 as pb
from tests.services.processing_case import Case, eventually, published_by, publisher, refused
from tests.support.media import make_clip

#: Copied from the reconciler. Importing that would load Prefect's settings into the test process.
STARTS_AT_ONCE = max(2, len(os.sched_getaffinity(0)))


def test_many_streams_at_once_are_started_a_few_at_a_time(case: Case) -> None:
    """After a restart with many streams, each gets its run at the first attempt, and only a few start at once."""
    spools = [case.session(f"cam{number}")[0] for number in range(6)]
    case.start()
    starting: list[int] = []

    def all_published() -> bool:
        created = [spool for spool in spools if (attempt := attempts.read(spool.folder)) and attempt.flow_run_id]
        starting.append(sum(not spool.run_alive() for spool in created))
        return all(spool.run_alive() for spool in spools)

    eventually(all_published, "every broadcast has a run", 240)
    assert max(starting) <= STARTS_AT_ONCE
    assert {json.loads((spool.folder / "run.json").read_text())["number"] for spool in spools} == {1}


def test_a_damaged_description_does_not_cost_the_broadcast(case: Case) -> None:
    """The description was truncated by a crash of the machine; other streams are not affected either."""
    spool, session, _ = case.session("cam")
    whole = (spool.folder / INFO).read_bytes()
    (spool.folder / INFO).write_bytes(whole[:20])
    other, _, _ = case.session("other")
    case.start()
    publisher(other)
    flow_run_id = published_by(spool)
    assert spool.info().output == f"{case.folder / 'out'}/cam/{spool.broadcast}"
    assert case.log.count("broadcast.json was damaged") == 1
    with case.rpc() as rpc:
        assert rpc.GetStream(pb.GetStreamRequest(stream="cam")).status.chunks == 1
        rpc.StopStream(pb.StopStreamRequest(session=session, finish_now=True))
    eventually(lambda: case.run_state(flow_run_id) == "COMPLETED", "all that was received is published")


def test_a_stream_that_somebody_publishes_is_not_pulled(case: Case) -> None:
    """A pull is refused while the publisher's segmenter starts and while it receives; the publisher is not disturbed."""
    media = case.folder / "media"
    media.mkdir()
    (media / "clip.mp4").write_bytes(b"no media")
    case.environment["STREAMWAVE_ALLOWED_FILE_ROOTS"] = str(media)
    case.start()
    pull = pb.StartStreamRequest(stream="cam", source=str(media / "clip.mp4"))
    spool, _, segmenter = case.session("cam")
    with case.rpc() as rpc:
        for wait in (False, True):
            if wait:
                eventually(lambda: writer_alive(spool.folder / "000000"), "the segmenter receives")
            code, message, details = refused(lambda: rpc.StartStream(pull))
            assert (code, details[0].violations[0].type) == (grpc.StatusCode.FAILED_PRECONDITION, "LIVE"), message
        assert segmenter.poll() is None
        assert [session.name for session in spool.sessions()] == ["000000"]
        rpc.StopStream(pb.StopStreamRequest(stream="cam"))
        assert segmenter.wait(60) == 0
        assert rpc.StartStream(pull).session.startswith("cam/")


def test_publishers_and_pulls_that_come_at_once_are_one(case: Case) -> None:
    """The service pulls, and the test opens sessions as ingest does."""
    sources = case.folder / "sources"
    sources.mkdir()
    case.environment["STREAMWAVE_ALLOWED_FILE_ROOTS"] = str(sources)
    case.start()
    clip = make_clip(sources / "clip.mp4", frames=100)

    def pull(stream: str) -> bool:
        with case.rpc() as rpc:
            try:
                rpc.StartStream(pb.StartStreamRequest(stream=stream, source=str(clip.path)), timeout=60)
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
                return False
        return True

    def publish(stream: str) -> bool:
        try:
            open_session(case.spool, stream, output=str(case.folder / "out"), window_ms=0, owner="ingest")
        except StreamLiveError:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        for number in range(8):
            stream = f"race{number}"
            both = [pool.submit(pull, stream), pool.submit(publish, stream)]
            assert sorted(future.result(120) for future in both) == [False, True], stream
            assert sum(len(found.sessions()) for found in broadcasts(case.spool, stream)) == 1


def test_a_stream_has_one_run_for_what_is_received_and_one_for_what_was(case: Case) -> None:
    """A publisher that reconnects often leaves slow broadcasts behind; other streams are published all the same."""
    case.environment["STREAMWAVE_MAX_STREAMS"] = "3"
    left = []
    for _ in range(3):
        spool, session, segmenter = case.session("cam")
        eventually(partial(was_opened, case.spool / session), "the segmenter writes")
        segmenter.terminate()
        assert segmenter.wait(60) == 0
        (spool.folder / "hold").touch()
        left.append(spool)
    assert len({spool.broadcast for spool in left}) == 3
    case.start()
    publisher(left[0])
    new, _, _ = case.session("cam")
    other, _, _ = case.session("other")
    publisher(new)
    publisher(other)
    assert [spool.run_alive() for spool in left] == [True, False, False]
    for spool in left:
        (spool.folder / "hold").unlink()
    eventually(lambda: all(spool.finished for spool in left), "what was left behind is published, one after the other")
    assert new.run_alive() and other.run_alive()
