"""The ingest service under attack: half-open requests, storms of wrong keys, and what strangers can learn and reach."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from services.ingest.connections import MAX_WAITING
from services.ingest.throttle import DELAY_S, FREE, MAX_ADDRESSES, MAX_DELAYED, KeyThrottle
from streamwave.config.settings import Settings
from streamwave.streams import publishes
from streamwave.streams.database import Database
from streamwave.streams.publishes import Client, Publishes
from tests.support.half_open import half_open, still_open
from tests.support.ingest import BEARER, Ingest, running
from tests.support.processes import wait_for

ELSEWHERE = {"X-Forwarded-For": "192.0.2.7"}


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    with running(
        tmp_path_factory.mktemp("edges"), STREAMWAVE_INGEST_HOST="0.0.0.0", STREAMWAVE_SOURCE_HOSTS=""
    ) as found:
        yield found


#: Requests that stop before the first byte, inside a header, and inside the body.
BEGUN = [
    b"",
    b"POST /start-stream HTTP/1.1\r\nHost: x\r\nX-Slow: ",
    b"POST /start-stream HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nContent-Type: application/json\r\n\r\n{",
]


def test_half_open_requests_end_and_honest_ones_are_answered(ingest: Ingest) -> None:
    """Of 3,000 half-open requests, the newest are kept until their deadline, which slowly arriving bytes do not extend."""
    assert ingest.process is not None
    descriptors, port = Path(f"/proc/{ingest.process.pid}/fd"), ingest.settings.ingest_port
    with (
        half_open(port, 1000, BEGUN[0]) as one,
        half_open(port, 1000, BEGUN[1]) as two,
        half_open(port, 1000, BEGUN[2]) as three,
        half_open(port, 1, BEGUN[1]) as slow,
    ):
        for _ in range(3):
            assert httpx.get(f"{ingest.url}/healthz", timeout=60, trust_env=False, verify=False).status_code == 200
        assert len(list(descriptors.iterdir())) < MAX_WAITING + 100

        def over() -> bool:
            with suppress(OSError):
                slow[0].send(b"y")
            return not still_open([*one, *two, *three, *slow])

        wait_for(over, "the end of 3,000 half-open requests")


def test_a_connection_that_is_kept_serves_more_than_one_request(ingest: Ingest) -> None:
    with httpx.Client(base_url=ingest.url, trust_env=False, verify=False, timeout=60) as client:
        assert [client.get("/healthz").status_code for _ in range(5)] == [200] * 5


def test_storms_of_wrong_keys_and_of_nonsense_leave_some_lines(ingest: Ingest) -> None:
    before = ingest.log.stat().st_size
    for number in range(300):
        ingest.hook(
            "start-stream", call="publish", name=f"wrong-{number}", addr=f"203.0.{number // 200}.{number % 200}"
        )
    for _ in range(100):
        with socket.create_connection(("127.0.0.1", ingest.settings.ingest_port), timeout=60) as connection:
            connection.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 400")
    assert b"publish refused" in ingest.log.read_bytes()[before:]
    # 400 lines would be 50 kB. The storm lasts a while, and a few lines are allowed every ten seconds.
    assert ingest.log.stat().st_size - before < 20_000


def test_a_wrong_key_waits_after_some_and_a_right_one_does_not(ingest: Ingest) -> None:
    for number in range(FREE):
        assert (
            ingest.hook("start-stream", call="publish", name=f"wrong-{number}", addr="203.0.113.5").status_code == 403
        )
    begin = time.monotonic()
    assert ingest.hook("start-stream", call="publish", name="wrong", addr="203.0.113.5").status_code == 403
    assert time.monotonic() - begin >= DELAY_S
    begin = time.monotonic()
    assert ingest.hook("start-stream", call="publish", name="wrong", addr="203.0.113.6").status_code == 403


def test_tries_are_counted_by_address_and_within_a_bound() -> None:
    now = 0.0
    tries = KeyThrottle(lambda: now)
    assert [tries.failed("203.0.113.5") for _ in range(FREE + 2)] == [0.0] * FREE + [DELAY_S] * 2
    assert tries.failed("203.0.113.6") == 0.0
    assert [tries.failed(f"2001:db8::{number:x}") for number in range(FREE + 1)][
        -1
    ] == DELAY_S  # all addresses of one subscriber
    now = 61.0
    assert tries.failed("203.0.113.5") == 0.0
    for number in range(3 * MAX_ADDRESSES):
        tries.failed(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(tries._failures) <= MAX_ADDRESSES
    for _ in range(FREE):
        tries.failed("203.0.113.9")

    async def held() -> float:
        waiting = [asyncio.create_task(tries.hold(30)) for _ in range(MAX_DELAYED)]
        await asyncio.sleep(0)
        delay_s = tries.failed("203.0.113.9")
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return delay_s

    assert asyncio.run(held()) == 0.0
    assert tries.failed("203.0.113.9") == DELAY_S


def test_the_state_of_the_installation_is_not_told_to_strangers(ingest: Ingest) -> None:
    assert ingest.client.get("/status").status_code == 200
    refused = ingest.client.get("/status", headers=ELSEWHERE)
    assert refused.status_code == 401 and "streams" not in refused.json()
    assert ingest.client.get("/status", headers={**ELSEWHERE, **BEARER}).status_code == 200
    own = socket.gethostbyname(socket.gethostname())
    if not own.startswith("127."):
        address = f"http://{own}:{ingest.settings.ingest_port}"
        assert httpx.get(f"{address}/status", trust_env=False, verify=False, timeout=60).status_code == 401
        assert httpx.get(f"{address}/healthz", trust_env=False, verify=False, timeout=60).status_code == 200


def test_being_reached_from_elsewhere_without_a_token_is_said(tmp_path: Path, ingest: Ingest) -> None:
    assert "STREAMWAVE_ADMIN_TOKEN is not set" not in ingest.log.read_text()
    with running(tmp_path, STREAMWAVE_INGEST_HOST="0.0.0.0", STREAMWAVE_ADMIN_TOKEN="") as other:
        warned = [line for line in other.log.read_text().splitlines() if "STREAMWAVE_ADMIN_TOKEN is not set" in line]
        assert len(warned) == 1 and " WARNING " in warned[0]


def test_a_source_inside_is_refused_whether_anything_listens_or_not(ingest: Ingest) -> None:
    ingest.add("inside")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        port = server.getsockname()[1]
        said = set()
        for url in (
            f"http://127.0.0.1:{port}/x",
            "http://127.0.0.1:1/x",
            f"srt://127.0.0.1:{port}",
            f"rtmp://127.1:{port}/a/b",
        ):
            answer = ingest.client.post("/start-stream", json={"stream": "inside", "source": url}, headers=BEARER)
            assert answer.status_code == 400
            said.add(answer.json()["error"].replace("127.1'", "127.0.0.1'"))
        assert len(said) == 1 and "STREAMWAVE_SOURCE_HOSTS" in said.pop()
        with pytest.raises(TimeoutError):
            server.accept()
    assert ingest.sessions("inside") == []


def test_publishes_that_are_over_are_remembered_within_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishes, "KEPT", 20)
    monkeypatch.setenv("STREAMWAVE_STATE_DIR", str(tmp_path))
    database = Database.open(Settings.load(env_file=None))
    try:
        found = Publishes(database)
        live = found.begin("live", Client(instance="i", clientid="0"), "", "")
        assert live is not None
        for number in range(60):
            one = found.begin("show", Client(instance="i", clientid=str(number + 1)), "", "")
            assert one is not None and found.end(one, "left")
        with database.begin() as session:
            rows = session.connection().exec_driver_sql("SELECT count(*) FROM publishes").scalar()
        assert rows is not None and rows <= 24
        assert found.open() == [live]
    finally:
        database.close()
    assert os.path.exists(tmp_path / "streamwave.db")
