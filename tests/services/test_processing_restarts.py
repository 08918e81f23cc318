"""The processing service ends and begins again, with other settings or the same; what it started goes on, or is resumed."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import grpc

from streamwave.spool.broadcast import RUN_LOCK
from streamwave.util.locks import lock_holder
from streamwave.v1 import streamwave_pb2 as pb
from tests.services.processing_case import Case, eventually, published_by, publisher, refused, start
from tests.support.cli import Cli
from tests.support.media import make_clip
from tests.support.s3 import s3_server


def test_runs_survive_a_kill_of_the_service_and_are_taken_care_of_again(case: Case) -> None:
    case.start()
    spool, session, segmenter = case.session("cam")
    start(case, session)
    pid = publisher(spool)
    flow_run_id = published_by(spool)
    case.end(signal.SIGKILL)
    assert lock_holder(spool.folder / RUN_LOCK) == pid
    case.start()
    assert start(case, session).flow_run_id == flow_run_id
    assert lock_holder(spool.folder / RUN_LOCK) == pid
    # The run is no longer a child of the service, but can still be cancelled.
    case.set_state(flow_run_id, "CANCELLING")
    eventually(lambda: spool.finished and segmenter.poll() is not None, "the broadcast is finished")
    eventually(lambda: case.run_state(flow_run_id) == "CANCELLED", "Prefect knows that it is cancelled")
    assert not spool.run_alive()


def test_runs_end_with_the_service_and_are_resumed(case: Case) -> None:
    case.start()
    spool, session, segmenter = case.session("cam")
    start(case, session)
    pid = publisher(spool)
    first = published_by(spool)
    case.end(signal.SIGTERM)
    assert not spool.run_alive()
    assert case.run_state(first) == "CRASHED"
    assert segmenter.poll() is None
    assert not spool.closed
    case.start()
    assert publisher(spool) != pid
    assert start(case, session).flow_run_id != first


def test_sighup_ends_the_service_alone(case: Case) -> None:
    case.start()
    spool, session, _ = case.session("cam")
    start(case, session)
    pid = publisher(spool)
    case.end(signal.SIGHUP)
    assert lock_holder(spool.folder / RUN_LOCK) == pid


def test_a_source_is_pulled_once(case: Case, tmp_path: Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    clip = make_clip(films / "clip.mp4", frames=100)
    odd = clip.path.rename(films / os.fsdecode(b"caf\xe9 \xe2\x80\xae\n.mp4"))
    case.environment["STREAMWAVE_ALLOWED_FILE_ROOTS"] = str(films)
    case.start()
    with case.rpc() as rpc:
        request = pb.StartStreamRequest(stream="film", source=odd.as_uri(), title="A film")
        first = rpc.StartStream(request)
        again = rpc.StartStream(request)
        assert (first.session, first.flow_run_id or again.flow_run_id) == (again.session, again.flow_run_id)
        assert first.session == f"film/{first.broadcast}/000000"
        get = lambda: rpc.GetStream(pb.GetStreamRequest(stream="film")).status  # noqa: E731
        eventually(lambda: get().state == pb.STREAM_STATE_FINISHED, "the file has been read to its end")
        assert (get().chunks, get().title) == (clip.chunks, "A film")

        for bad in (
            "gopher://x/y",
            "concat:a|b",
            "file:/etc/passwd",
            "data:text/plain,x",
            "../x",
            "a\0b",
            str(films),
            "http://[x/",
        ):
            code, _, details = refused(partial(rpc.StartStream, pb.StartStreamRequest(stream="film", source=bad)))
            assert code == grpc.StatusCode.INVALID_ARGUMENT, bad
            assert [violation.field for violation in details[0].field_violations] == ["source"]
        assert len(rpc.ListStreams(pb.ListStreamsRequest(include_finished=True)).streams) == 1


def test_the_output_that_cannot_be_written_is_said_at_start(case: Case) -> None:
    (case.folder / "file").touch()
    case.environment |= {"OUTPUT_DIR": str(case.folder / "file"), "STREAMWAVE_ALLOWED_FILE_ROOTS": str(case.folder)}
    case.start()
    with case.rpc() as rpc:
        film = pb.StartStreamRequest(stream="film", source=str(case.folder / "service.log"))
        code, message, details = refused(lambda: rpc.StartStream(film))
    assert code == grpc.StatusCode.FAILED_PRECONDITION, message
    assert details[0].violations[0].type == "STORAGE"
    assert not (case.spool / "film").exists()


def s3_refusals() -> Iterator[tuple[str, dict[str, str]]]:
    """Faulty S3 outputs: the expected error, and the settings of a service that must detect it."""
    with s3_server() as s3:
        s3.bucket("films")
        made = s3.client("iam")
        made.create_user(UserName="guest")
        guest = made.create_access_key(UserName="guest")["AccessKey"]
        made.create_user(UserName="owner")
        allow = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
        made.put_user_policy(UserName="owner", PolicyName="p", PolicyDocument=policy)
        owner = made.create_access_key(UserName="owner")["AccessKey"]
        s3.enforce_rights(0)

        def settings(bucket: str, key: str, secret: str) -> dict[str, str]:
            ours = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
            return {**s3.environment, "USE_S3": "true", "S3_BUCKET": bucket, **ours}

        yield "there is no such bucket", settings("nowhere", owner["AccessKeyId"], owner["SecretAccessKey"])
        yield "the secret key is wrong", settings("films", owner["AccessKeyId"], "wrong")
        yield "access denied", settings("films", guest["AccessKeyId"], guest["SecretAccessKey"])


def test_an_s3_output_that_cannot_be_written_is_said_before_a_single_chunk(case: Case) -> None:
    """The error is reported by StartStream, ``doctor`` and ``up``."""
    plain = dict(case.environment)
    for says, settings in s3_refusals():
        case.environment = {**plain, **settings, "STREAMWAVE_ALLOWED_FILE_ROOTS": str(case.folder)}
        case.start()
        with case.rpc() as rpc:
            film = pb.StartStreamRequest(stream="film", source=str(case.folder / "service.log"))
            code, message, details = refused(lambda film=film: rpc.StartStream(film))  # type: ignore[misc]
        assert code == grpc.StatusCode.FAILED_PRECONDITION, message
        assert says in message and details[0].violations[0].type == "STORAGE"
        assert not (case.spool / "film").exists()
        case.end(signal.SIGTERM)
        cli = Cli(case.folder, {**settings, "COLUMNS": "500"})
        for command in ("doctor", "up") if says == "access denied" else ():
            done = cli.run(command)
            assert done.code != 0 and says in " ".join((done.out + done.err).split()), done
