"""Attacks on RTMP during a publish: the publisher loses no frame, memory is bounded, and viewers are served.

TESTS_FULL=1 sends 10,000 damaged sessions before a publish and 1,000 after one instead of some hundred.
"""

from __future__ import annotations

import os
import resource
import socket
import struct
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from services.media.server import MediaServer
from services.rtmp.rules import MAX_MESSAGE
from services.rtmp.server import PUBLISH_HOST
from tests.support.ports import free_port
from tests.support.processes import descendants, wait_for
from tests.support.rtmp import (
    COMMAND,
    SET_CHUNK_SIZE,
    USER_CONTROL,
    VIDEO,
    Client,
    Sent,
    after_publish,
    amf,
    before_publish,
    chunks,
    greeting,
    nested,
)
from tests.support.rtmp_part import Hooks, LivePublisher, RtmpPart, hooks, peak_memory, rtmp_part

FULL = bool(os.environ.get("TESTS_FULL"))
BEFORE, AFTER = (10_000, 1_000) if FULL else (300, 40)
IDLE = 4_300 if FULL else 1_000
MEMORY_LIMIT = 10**9
#: Addresses of attackers; all of 127/8 belongs to this machine.
STRANGER, OTHER_STRANGER = "127.0.0.66", "127.0.0.67"


class Stage:
    """The target: RTMP with a live publisher, and the media server."""

    def __init__(self, part: RtmpPart, hook: Hooks, web: MediaServer, live: LivePublisher) -> None:
        self.part, self.hook, self.web, self.live = part, hook, web, live
        self.nginx_pid = part.nginx_pid
        self.slow: list[socket.socket] = []
        self.finished = False

    def memory(self) -> dict[str, int]:
        """The peak memory of each process."""
        assert self.web.pid is not None
        pids = {"gate": self.part.pid, "nginx-rtmp": self.part.nginx_pid, "media": self.web.pid}
        workers = {f"media worker {pid}": pid for pid in descendants(self.web.pid)}
        return {name: peak_memory(pid) for name, pid in {**pids, **workers}.items()}

    def assert_well(self) -> None:
        """Check that no process has exited, the publisher still sends, viewers are served, and memory is bounded."""
        assert self.part.nginx_pid == self.nginx_pid
        with urllib.request.urlopen(f"{self.web.url}/time", timeout=60) as answer:
            assert answer.status == 200
        sent = self.live.sent()
        wait_for(lambda: self.live.sent() > sent + 5, "more pictures of the live publisher")
        assert self.live.lives()
        memory = self.memory()
        assert sum(memory.values()) < MEMORY_LIMIT, memory


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("attack")
    with (
        hooks() as hook,
        rtmp_part(folder, hook.server_port) as part,
        MediaServer(folder, port=free_port(), host="127.0.0.1") as web,
    ):
        live = LivePublisher(part, hook, folder)
        try:
            yield Stage(part, hook, web, live)
        finally:
            live.close()


@pytest.fixture(autouse=True)
def well(stage: Stage) -> Iterator[None]:
    yield
    if not stage.finished:
        stage.assert_well()


def slow_connections(port: int) -> list[socket.socket]:
    """Connections that stop at once, during the handshake, after it, and inside a command."""
    begin, end = greeting()
    command = chunks(Sent(3, COMMAND, amf("connect", 1, {"app": "live"})))
    found = []
    for said in (b"", begin[:1], begin[:-1], begin, begin + end[:-1], begin + end, begin + end + command[:-1]):
        client = Client(port, source=OTHER_STRANGER, timeout_s=60)
        client.send(said)
        found.append(client.socket)
    return found


def test_connections_that_stop_are_given_up_later(stage: Stage) -> None:
    """The connections time out during the other tests; the last test checks it."""
    stage.slow = slow_connections(stage.part.port)


def connect_command(body: bytes, size: int) -> bytes:
    """A ``connect`` command with this AMF after its name and transaction id, in chunks of ``size`` bytes."""
    announced = chunks(Sent(2, SET_CHUNK_SIZE, struct.pack(">I", size)))
    return announced + chunks(Sent(3, COMMAND, amf("connect", 1) + body), size)


def attack(stage: Stage, send: Callable[[Client], None]) -> bool:
    """Whether the gate closes a connection that completes the handshake and then calls ``send``."""
    with Client(stage.part.port, source=STRANGER) as client:
        try:
            client.greet()
            send(client)
        except (ConnectionError, TimeoutError):
            return True  # in the middle of it
        return client.closed()


@pytest.mark.parametrize("kind", ["array", "object"])
@pytest.mark.parametrize("size", [188_000, MAX_MESSAGE - 40, 60_000])
def test_nested_amf(stage: Stage, kind: str, size: int) -> None:
    """188 kB of nested AMF crashed a stock nginx-rtmp; 60 kB is about the limit of a command."""
    body = nested(size // len(nested(1, kind)), kind)
    assert attack(stage, lambda client: client.send(connect_command(body, 65536)))
    assert attack(stage, lambda client: client.send(connect_command(body, 128)))


@pytest.mark.parametrize("kind", ["array", "object"])
@pytest.mark.parametrize("host", ["127.0.0.1", PUBLISH_HOST])
def test_nested_amf_at_the_internal_port(stage: Stage, kind: str, host: str) -> None:
    """Local processes can reach nginx-rtmp directly; its stack suffices for the deepest nesting that fits in a message."""
    body = nested((MAX_MESSAGE - 40) // len(nested(1, kind)), kind)
    with Client(stage.part.internal_port, host, timeout_s=60) as client:
        if host == PUBLISH_HOST:
            client.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n")
        client.greet()
        client.send(connect_command(body, 65536))
        assert client.closed()


def test_unfinished_messages(stage: Stage) -> None:
    """28 chunk streams, each with an incomplete message of 16 MB, took 420 MB per connection."""

    def send(client: Client) -> None:
        for number in range(3, 31):
            body = bytes(16_000_000 - 1)
            client.send(chunks(Sent(number, COMMAND, body), 15_999_000)[:500_000])

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(lambda _: attack(stage, send), range(6)))

    def within_limits(client: Client) -> None:
        client.send(b"".join(chunks(Sent(number, COMMAND, bytes(60_000)))[:140] for number in range(3, 16)))

    assert attack(stage, within_limits)


def test_unfinished_messages_of_publishers(stage: Stage) -> None:
    for number in range(4):
        with Client(stage.part.port, source=STRANGER) as client:
            client.publish(f"fuzzlarge{number}")
            for stream in range(3, 16):
                try:
                    client.send(chunks(Sent(stream, VIDEO, bytes(4_000_000), 0, 1), 4_096)[:4_000])
                except ConnectionError:
                    break
            assert client.closed()


def test_thousands_of_idle_connections(stage: Stage) -> None:
    """Idle connections from another address, and from the address of a publisher that connects meanwhile."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = min(IDLE, (hard if hard != resource.RLIM_INFINITY else IDLE + 1000) - 1000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], min(most + 1000, hard)), hard))
    idle: list[socket.socket] = []
    try:
        for source in (STRANGER, "127.0.0.1"):
            for _ in range(most // 2):
                idle.append(socket.create_connection(("127.0.0.1", stage.part.port), 30, (source, 0)))
            stage.assert_well()
            with Client(stage.part.port) as client:
                client.publish(f"fuzzreturn{source[-1]}")
    finally:
        for one in idle:
            one.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def send_all(stage: Stage, data: bytes) -> str:
    """Send a damaged session and wait until the connection closes; what went wrong."""
    with Client(stage.part.port, source=STRANGER, timeout_s=60) as client:
        try:
            client.send(data)
            client.socket.shutdown(socket.SHUT_WR)
        except OSError:
            return ""
        return "" if client.closed() else f"no end after {data[:200].hex()}"


def test_damaged_sessions_before_a_publish(stage: Stage) -> None:
    begun = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        wrong = [one for one in pool.map(lambda data: send_all(stage, data), before_publish(1, BEFORE)) if one]
    assert wrong == []
    # Harmless damage reaches nginx-rtmp and the hooks, which refuse the unknown key.
    asked = stage.hook.count("publish", name="guess")
    assert asked > BEFORE // 20
    print(
        f"{asked} of {BEFORE} damaged sessions before a publish in {time.monotonic() - begun:.0f} s; memory {stage.memory()}"
    )


def test_damaged_messages_after_a_publish(stage: Stage) -> None:
    begun = time.monotonic()

    def send(case: tuple[int, bytes]) -> str:
        number, data = case
        with Client(stage.part.port, source=STRANGER, timeout_s=60) as client:
            client.publish(f"fuzz{number}", flash=number % 5 == 0, size=(128, 4096)[number % 2])
            try:
                client.send(data)
                client.socket.shutdown(socket.SHUT_WR)
            except OSError:
                return ""
            return "" if client.closed() else f"no end after {data[:200].hex()}"

    with ThreadPoolExecutor(8) as pool:
        wrong = [one for one in pool.map(send, enumerate(after_publish(2, AFTER))) if one]
    assert wrong == []
    wait_for(lambda: stage.hook.count("publish_done") >= AFTER, "the end of all of these publishes")
    print(f"{AFTER} damaged publishes in {time.monotonic() - begun:.0f} s; memory {stage.memory()}")


def test_a_publisher_that_does_not_read(stage: Stage) -> None:
    """A publisher sends pings and never reads the answers, which nginx-rtmp drops once the gate's buffers are full."""
    with Client(stage.part.port, source=STRANGER) as client:
        client.publish("fuzzdeaf")
        pings = chunks(Sent(2, USER_CONTROL, struct.pack(">HI", 6, 7))) * 1000
        with suppress(OSError):
            for _ in range(500):
                client.send(pings)


def test_at_last_no_frame_was_lost(stage: Stage) -> None:
    for one in stage.slow:
        one.settimeout(60)
        try:
            while one.recv(65536):
                pass
        except TimeoutError:
            pytest.fail("a connection that stopped was not given up")
        except OSError:
            pass
        one.close()
    stage.assert_well()
    print(f"memory {stage.memory()}")
    stage.finished = True
    sent, pulled = stage.live.finish()
    print(f"pictures sent {sent}, pulled {pulled}")
    assert pulled == sent
    log = stage.part.log.read_text()
    assert "Traceback" not in log and "ended with status" not in log
    assert len(log) < 1_000_000
