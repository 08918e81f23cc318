"""The ingest service as a process, over HTTP: hooks with invalid input, administration, pulls, status."""

from __future__ import annotations

import concurrent.futures
import json
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.ingest.log import QUIET_S
from streamwave.spool.broadcast import BroadcastSpool, open_session
from streamwave.spool.journal import EndRecord, JournalWriter, writer_alive, writer_pid
from streamwave.spool.options import FILE_AHEAD
from streamwave.streams.hooks import hook_token, hooks_url
from tests.support.http import LOCAL
from tests.support.ingest import ADMIN, BEARER, Ingest, end_of, running
from tests.support.processes import wait_for


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    with running(tmp_path_factory.mktemp("ingest")) as found:
        yield found


@pytest.mark.parametrize(
    "key",
    [
        "wrong",
        "../../etc/passwd",
        "%2e%2e",
        "a\0b",
        "a b",
        "x" * 10_000,
        "🎥",
        "show\r\nLocation: evil",
        "' OR 1=1 --",
        "ö",
    ],
    ids=["wrong", "dots", "percent", "nul", "space", "long", "emoji", "lines", "sql", "latin"],
)
def test_a_key_that_is_none_is_refused_and_not_logged(ingest: Ingest, key: str) -> None:
    before = len(ingest.log.read_bytes())
    for answer in (
        ingest.hook("start-stream", call="publish", name=key),
        ingest.client.post("/start-stream", json={"key": key, "clientid": 7}),
    ):
        assert answer.status_code == 403
        assert list(answer.json()) == ["error"]
        assert "\n" not in answer.json()["error"] and key not in answer.text
        assert "location" not in answer.headers
    new = ingest.log.read_bytes()[before:].decode()
    assert key not in new
    assert "Traceback" not in new
    assert ingest.sessions() == []


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "application/x-www-form-urlencoded", 400),
        (b"name=x", "application/x-www-form-urlencoded", 400),
        (b"clientid=1", "application/x-www-form-urlencoded", 400),
        (b"name=&clientid=1", "application/x-www-form-urlencoded", 400),
        (b"name=x&clientid=1&name=y", "application/x-www-form-urlencoded", 400),
        (b"name=x&clientid=1&addr=1&addr=127.0.0.1", "application/x-www-form-urlencoded", 400),
        (b"name=x&clientid=../1", "application/x-www-form-urlencoded", 400),
        (b"name=x&clientid=1&call=play", "application/x-www-form-urlencoded", 400),
        (b"name=%ff%fe%00&clientid=1", "application/x-www-form-urlencoded", 403),
        (b"&".join(b"f%d=1" % n for n in range(200)), "application/x-www-form-urlencoded", 400),
        (b"x" * 100_000, "application/x-www-form-urlencoded", 413),
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"nul", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[" * 50_000, "application/json", 400),
        (b'{"key": "a", "clientid": 1, "key": "b"}', "application/json", 400),
        (b'{"key": {"$ne": ""}, "clientid": 1}', "application/json", 400),
        (b'{"key": null, "clientid": 1}', "application/json", 400),
        (b'{"key": "a", "clientid": true}', "application/json", 400),
        (b'{"key": "\\ud800", "clientid": 1}', "application/json", 403),
        (b"name=x&clientid=1", "text/plain", 415),
        (b"name=x&clientid=1", "multipart/form-data; boundary=x", 415),
        (b"name=x&clientid=1", "", 415),
    ],
)
def test_bodies_that_are_not_a_hook_call(ingest: Ingest, body: bytes, kind: str, status: int) -> None:
    answer = ingest.client.post("/start-stream", content=body, headers={"Content-Type": kind} if kind else {})
    assert (answer.status_code, list(answer.json())) == (status, ["error"])


def test_a_body_of_unknown_length_is_bounded(ingest: Ingest) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 10_000

    try:
        status = ingest.client.post("/start-stream", content=endless()).status_code
    except httpx.WriteError:  # closing the connection counts as an answer
        status = 413
    assert status == 413
    assert ingest.answers()


def test_hooks_of_unknown_connections(ingest: Ingest) -> None:
    ingest.add("unknown")
    assert ingest.hook("stop-stream", call="publish_done", name="whatever").status_code == 204
    assert ingest.hook("update-stream", call="update_publish", name="whatever").status_code == 403
    assert ingest.hook("update-stream", call="update_play", name="unknown").status_code == 204
    assert ingest.hook("play-stream", call="play", name="unknown").status_code == 403
    assert ingest.hook("play-stream", call="play", name="unknown", publish="0" * 32).status_code == 403
    assert ingest.hook("play-stream", call="play", name="unknown", publish="../x").status_code == 403


def test_hooks_from_elsewhere(ingest: Ingest) -> None:
    fields = {"name": "x", "clientid": "1"}
    path = httpx.URL(hooks_url(ingest.settings)).path
    assert path.split("/")[2] == hook_token(ingest.settings)
    # With the right token in the URL the key is checked, with a wrong one nothing is.
    assert "key" in ingest.client.post(f"{path}/start-stream", data=fields).text
    wrong = path.replace(hook_token(ingest.settings), "guessed")
    for hook in ("start-stream", "stop-stream", "play-stream", "update-stream"):
        answer = ingest.client.post(f"{wrong}/{hook}", data=fields)
        assert answer.status_code == 403 and "wrong token" in answer.text
        # A request forwarded by a proxy on this machine does not count as local.
        answer = ingest.client.post(f"/{hook}", data=fields, headers={"X-Forwarded-For": "127.0.0.1"})
        assert answer.status_code == 403 and "from this machine" in answer.text
    mode = (ingest.settings.state_dir / "hook-token").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    assert hook_token(ingest.settings) not in ingest.log.read_text()


def test_hooks_from_another_address_need_the_token(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing; tells this machine's address
        own = probe.getsockname()[0]
    assert not own.startswith("127.")
    with running(tmp_path, STREAMWAVE_INGEST_HOST="0.0.0.0") as ingest:
        base = f"http://{own}:{ingest.settings.ingest_port}"
        fields = {"name": "x", "clientid": "1"}
        token = httpx.URL(hooks_url(ingest.settings)).path
        with httpx.Client(**LOCAL, timeout=60) as stranger:
            assert "from this machine" in stranger.post(f"{base}/start-stream", data=fields).text
            assert "no enabled stream" in stranger.post(f"{base}{token}/start-stream", data=fields).text


def test_administration(ingest: Ingest) -> None:
    key = ingest.add("admin-1")
    assert key.startswith("sw_") and len(key) == 35
    listed = ingest.client.get("/streams", headers=BEARER)
    assert [(row["name"], row["enabled"]) for row in listed.json() if row["name"] == "admin-1"] == [("admin-1", True)]
    assert key not in listed.text and "hash" not in listed.text
    assert ingest.client.post("/streams", json={"name": "admin-1"}, headers=BEARER).status_code == 409
    changed = ingest.client.patch(
        "/streams/admin-1", json={"enabled": False, "title": "A title"}, headers=BEARER
    ).json()
    assert (changed["enabled"], changed["title"]) == (False, "A title")
    rotated = ingest.client.post("/streams/admin-1/rotate-key", headers=BEARER)
    assert rotated.json()["key"] != key and rotated.headers["cache-control"] == "no-store"
    assert ingest.client.delete("/streams/admin-1", headers=BEARER).status_code == 204
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/rotate-key")):
        assert ingest.client.request(method, f"/streams/admin-1{path}", headers=BEARER).status_code == 404
    database = ingest.settings.state_dir / "streamwave.db"
    assert key.encode() not in database.read_bytes()
    assert key not in ingest.log.read_text()


@pytest.mark.parametrize(
    "name", ["", "..", "../x", "A", "a b", "a\0", "a" * 65, "-a", "ä", "🎥", "x" * 10_000, "a/b", "a\n"]
)
def test_names_that_are_not_allowed(ingest: Ingest, name: str) -> None:
    answer = ingest.client.post("/streams", json={"name": name}, headers=BEARER)
    assert answer.status_code == 400 and "\n" not in answer.json()["error"]


@pytest.mark.parametrize(
    "body", [{}, {"name": 1}, {"name": "a", "admin": True}, {"name": "a", "title": "x\ny"}, [], None]
)
def test_new_streams_that_are_not_allowed(ingest: Ingest, body: Any) -> None:
    assert ingest.client.post("/streams", json=body, headers=BEARER).status_code == 400


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer wrong", f"Basic {ADMIN}", ADMIN, f"Bearer {ADMIN}x"])
def test_administration_needs_the_token(ingest: Ingest, header: str | None) -> None:
    headers = {"Authorization": header} if header is not None else {}
    calls = [("GET", "/streams", None), ("POST", "/streams", {"name": "sneaky"}), ("DELETE", "/streams/x", None)]
    calls += [
        ("POST", "/start-stream", {"stream": "x", "source": "http://x/"}),
        ("POST", "/stop-stream", {"stream": "x"}),
    ]
    for method, path, body in calls:
        answer = ingest.client.request(method, path, json=body, headers=headers)
        assert (answer.status_code, answer.headers.get("www-authenticate")) == (401, "Bearer")
    assert "sneaky" not in ingest.client.get("/streams", headers=BEARER).text


@pytest.mark.parametrize(
    "source",
    [
        *("file:///etc/passwd", "/etc/passwd", "concat:a|b", "data:video/mp4;base64,AA==", "gopher://x/", "pipe:0", ""),
        *(
            "subfile,,start,0,end,9,,:/etc/passwd",
            "crypto+http://x/",
            "http:",
            "\0",
            "x" * 5000,
            "private://x/",
            "http://[x/",
            "folder",
        ),
    ],
)
def test_sources_that_are_not_allowed(ingest: Ingest, source: str) -> None:
    if "sources" not in ingest.client.get("/streams", headers=BEARER).text:
        ingest.add("sources")
    before = ingest.sessions("sources")
    source = str(ingest.folder / "media") if source == "folder" else source
    answer = ingest.client.post("/start-stream", json={"stream": "sources", "source": source}, headers=BEARER)
    assert (answer.status_code, list(answer.json())) == (400, ["error"])
    assert ingest.sessions("sources") == before


def test_a_pulled_source(ingest: Ingest) -> None:
    """An allowed file becomes a session; nobody else can publish while it is live; a stop request ends it."""
    media = ingest.folder / "media"
    media.mkdir(exist_ok=True)
    clip = media / "clip.mp4"
    source = ["-f", "lavfi", "-i", "testsrc2=size=64x36:rate=25:duration=60", "-c:v", "libx264", "-preset", "ultrafast"]
    subprocess.run(["ffmpeg", "-v", "error", "-nostdin", *source, "-g", "50", str(clip)], check=True, timeout=60)
    key = ingest.add("pulled")
    start = {"stream": "pulled", "source": str(clip.rename(media / os.fsdecode(b"caf\xe9 \xe2\x80\xae\n.mp4")))}
    # Encoded by Python, which escapes bytes that are not UTF-8; httpx does not.
    headers = BEARER | {"content-type": "application/json"}
    answer = ingest.client.post("/start-stream", content=json.dumps(start), headers=headers)
    assert answer.status_code == 201, answer.text
    session = ingest.settings.spool_dir.joinpath(*(answer.json()[part] for part in ("stream", "broadcast", "session")))
    # No flow publishes, so the reader stops once it has written as many chunks as may wait.
    ahead = ingest.settings.max_chunks_in_flight + FILE_AHEAD
    wait_for(lambda: len(list(session.glob("*.mkv"))) >= ahead, "chunks of the file")
    # Each check has one second, so on a busy machine the status may lack something.
    wait_for(
        lambda: [row["session"] for row in ingest.client.get("/status").json()["streams"]] == ["000000"], "the status"
    )
    uri = Path(start["source"]).as_uri()
    again = ingest.client.post("/start-stream", json=start | {"source": uri}, headers=BEARER)
    assert again.status_code == 403
    assert ingest.hook("start-stream", call="publish", name=key).status_code == 403
    assert writer_alive(session)
    assert ingest.client.post("/stop-stream", json={"stream": "pulled"}, headers=BEARER).status_code == 200
    wait_for(lambda: end_of(session), "the end record")
    end = end_of(session)
    assert end and (end.reason, end.error) == ("stopped", None)
    wait_for(lambda: ingest.client.get("/status").json()["streams"] == [], "the end in the status")
    encoding = ingest.client.get("/status").json()["encoding"]
    assert encoding.pop("slots") >= 1
    assert encoding == {"demand": 0, "load": 0, "workers": 1, "busy": 0, "queued": 0, "unusable": []}
    # The broadcast has no publisher any more but is not complete at its outputs, so the status lists it.
    spool = BroadcastSpool(session.parent)
    spool.write_status({"state": "finishing", "outputs": [{"output": "s3://tv", "error": "s3://tv does not answer"}]})

    def told() -> dict[str, Any] | None:
        found: dict[str, Any] = ingest.client.get("/status").json()
        return found if found["unfinished"] else None

    found = wait_for(told, "the broadcast in the status")
    assert found is not None
    (left,) = found["unfinished"]
    assert (left["stream"], left["broadcast"], left["state"]) == ("pulled", spool.broadcast, "finishing")
    assert found["status"] == found["parts"]["output"]["status"] == "degraded"
    assert found["parts"]["output"]["error"] == left["cause"] == "s3://tv does not answer"
    assert left["remedy"].endswith(f"streamwave broadcasts rm pulled/{spool.broadcast}")
    assert ingest.client.post("/stop-stream", json={"stream": "pulled"}, headers=BEARER).status_code == 404
    # A second pull, now by key, joins the same broadcast.
    answer = ingest.client.post("/start-stream", json={"key": key, "source": uri}, headers=BEARER)
    assert (answer.json()["broadcast"], answer.json()["session"]) == (session.parent.name, "000001")
    assert ingest.client.post("/stop-stream", json={"stream": "pulled"}, headers=BEARER).status_code == 200
    wait_for(lambda: end_of(session.parent / "000001"), "the second end record")


def test_a_publish_that_nothing_can_receive_is_refused_soon(ingest: Ingest) -> None:
    """If the segmenter cannot reach the RTMP server, the answer comes well before nginx-rtmp's timeout."""
    key = ingest.add("nowhere")
    begun = time.monotonic()
    answer = ingest.hook("start-stream", call="publish", name=key)
    assert time.monotonic() - begun < 10  # nginx waits no longer; ingest gives itself seven seconds
    assert answer.status_code == 503 and "RTMP_URL" in answer.text and key not in answer.text
    # The refused publish does not block the stream.
    assert ingest.hook("start-stream", call="publish", name=key, clientid="8").status_code == 503
    sessions = ingest.sessions("nowhere")
    wait_for(lambda: all(end_of(session) for session in sessions), "the end records")
    assert len(sessions) == 2


def test_hooks_are_answered_while_the_database_is_locked(tmp_path: Path) -> None:
    """nginx-rtmp gives up after 10 s; accepting a publish after that would leave one without a publisher."""
    with running(tmp_path) as ingest:
        keys = [ingest.add(f"locked-{number}") for number in range(16)]

        def ask(hook: str, number: int) -> int:
            data = {"name": keys[number], "clientid": str(number), "addr": "127.0.0.1"}
            return httpx.post(f"{ingest.url}/{hook}", data=data, timeout=60, **LOCAL).status_code

        database = sqlite3.connect(ingest.settings.state_dir / "streamwave.db", isolation_level=None)
        with closing(database), concurrent.futures.ThreadPoolExecutor(16) as pool:
            database.execute("BEGIN IMMEDIATE")
            asked = [pool.submit(ask, "start-stream", number) for number in range(16)]
            # Requests that do not write are answered meanwhile.
            assert [ask(hook, 0) for hook in ("stop-stream", "play-stream")] == [204, 403]
            assert {call.result(60) for call in asked} == {503}
            database.execute("ROLLBACK")
        # The late publish has left nothing that would block the next one.
        wait_for(lambda: "RTMP_URL" in ingest.hook("start-stream", name=keys[0], clientid="99").text, "a try")
        log = ingest.log.read_text()
        assert not [key for key in keys if key in log]
        assert "Traceback" not in log


@pytest.mark.parametrize("hook", ["stop-stream", "play-stream", "update-stream"])
@pytest.mark.parametrize("name", ["../x", "%2e%2e/x", "a\0b", "a b", "x" * 10_000, "🎥"])
def test_impossible_names_in_every_hook(ingest: Ingest, hook: str, name: str) -> None:
    before = len(ingest.log.read_bytes())
    answer = ingest.hook(hook, name=name)
    assert answer.status_code in (204, 403)
    assert name not in ingest.log.read_bytes()[before:].decode()
    assert "Traceback" not in ingest.log.read_text()


def test_files_with_secrets_are_their_owners(ingest: Ingest) -> None:
    ingest.add("modes")
    for path in ingest.settings.state_dir.glob("streamwave.db*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_a_stream_that_the_processing_service_receives_is_taken(ingest: Ingest) -> None:
    """A stream that is pulled through gRPC cannot be published as well."""
    key = ingest.add("taken")
    spool = ingest.settings.spool_dir
    found, session = open_session(spool, "taken", output="/out", window_ms=0, owner="processing")
    writer = JournalWriter(session)
    try:
        answer = ingest.hook("start-stream", call="publish", name=key)
        assert (answer.status_code, "live from another source" in answer.text) == (403, True), answer.text
        body = {"stream": "taken", "source": "rtmp://127.0.0.1:1/live/x"}
        assert ingest.client.post("/start-stream", json=body, headers=BEARER).status_code == 403
        assert found.sessions() == [session]
        assert writer_pid(session) == os.getpid()
    finally:
        writer.append(EndRecord(reason="stopped", ended_unix_ms=time.time_ns() // 1_000_000))
        writer.close()
    # The refused publishes have left nothing: once the stream is free, the publisher gets as far as the RTMP server.
    assert "RTMP_URL" in ingest.hook("start-stream", call="publish", name=key).text


def test_status_of_missing_neighbours(ingest: Ingest) -> None:
    # Each check has one second, which its own parts may exceed once on a busy machine.
    found = wait_for(
        lambda: (told := ingest.client.get("/status").json())["parts"]["ingest"]["status"] == "ok" and told,
        "the status",
    )
    assert found["status"] == "degraded"
    well = {name: part["status"] for name, part in found["parts"].items()}
    assert {name for name, state in well.items() if state != "ok"} >= {"rtmp", "media", "processing", "prefect"}
    assert found["parts"]["spool"]["free_bytes"] > 0
    assert str(ingest.settings.rtmp_port) in found["parts"]["rtmp"]["error"]


def test_status_is_bounded_when_a_neighbour_hangs(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = str(silent.getsockname()[1])
        with running(
            tmp_path,
            PREFECT_API_URL=f"http://127.0.0.1:{port}/api",
            STREAMWAVE_GRPC_PORT=port,
            STREAMWAVE_MEDIA_PORT=port,
            STREAMWAVE_RTMP_PORT=port,
        ) as ingest:
            begun = time.monotonic()
            found = ingest.client.get("/status").json()
            # Connections that never answer must not delay the shutdown for ever.
            assert time.monotonic() - begun < 20
            assert all(
                found["parts"][name]["status"] == "degraded" for name in ("rtmp", "media", "processing", "prefect")
            )


def test_many_strangers_fill_no_log(ingest: Ingest) -> None:
    before, begun = len(ingest.log.read_bytes()), time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(60) as pool:  # most answers are delayed
        found = list(
            pool.map(lambda _: ingest.hook("start-stream", name="flood", addr="192.0.2.9").status_code, range(120))
        )
    assert set(found) - {503} == {403}  # on a busy machine, some are too many at once
    # One line per ten seconds, however long it takes.
    most = 1 + (time.monotonic() - begun) / QUIET_S
    assert 1 <= ingest.log.read_bytes()[before:].count(b"publish refused") <= most


def test_a_taken_port_is_one_line(ingest: Ingest) -> None:
    environment = {**os.environ, **ingest.environment}
    done = subprocess.run(
        [sys.executable, "-m", "services.ingest"],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and str(ingest.settings.ingest_port) in done.stderr, done.stderr


def test_administration_is_off_without_a_token_and_the_end_is_clean(tmp_path: Path) -> None:
    with running(tmp_path, STREAMWAVE_ADMIN_TOKEN="") as ingest:
        answer = ingest.client.get("/streams", headers=BEARER)
        assert answer.status_code == 503 and "STREAMWAVE_ADMIN_TOKEN" in json.loads(answer.text)["error"]
        assert ingest.stop(signal.SIGINT) == 0
        assert "Traceback" not in ingest.log.read_text()
