"""The media server under attack: logs, memory, connections, and what the page shows."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from services.media.__main__ import from_settings
from services.media.server import MediaServer
from streamwave.util.logs import LOG_BYTES
from tests.support.asking import ask
from tests.support.half_open import half_open, still_open
from tests.support.ports import free_port
from tests.support.processes import wait_for

#: The longest request line that nginx accepts; nginx used to log it twice.
LONG = "A" * 7000


@contextmanager
def _installation(folder: Path, monkeypatch: pytest.MonkeyPatch, **variables: str) -> Iterator[MediaServer]:
    """The media server as an installation runs it."""
    chosen = {
        "STREAMWAVE_STATE_DIR": str(folder / "var"),
        "OUTPUT_DIR": str(folder / "out"),
        "STREAMWAVE_MEDIA_PORT": str(free_port()),
        "STREAMWAVE_RTMP_PORT": str(free_port()),
        "STREAMWAVE_MEDIA_HOST": "127.0.0.1",
        "STREAMWAVE_RTMP_HOST": "127.0.0.1",
        **variables,
    }
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    with from_settings() as server:
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MediaServer]:
    folder = tmp_path_factory.mktemp("edges")
    (folder / "out").mkdir()
    with pytest.MonkeyPatch.context() as patch, _installation(folder, patch) as running:
        yield running


def _log(server: MediaServer) -> int:
    assert server._runtime_dir is not None
    return sum(path.stat().st_size for path in server._runtime_dir.glob("*.log*"))


def test_requests_of_strangers_leave_nothing_in_the_log(server: MediaServer) -> None:
    """40 MB of invalid requests: for a folder, with a long name, with a body, and incomplete ones."""
    before, name = _log(server), "n" * 300
    kinds = [
        f"GET /media/?{LONG} HTTP/1.1\r\nHost: x\r\n\r\n",
        f"GET /media/{name}?{LONG} HTTP/1.1\r\nHost: x\r\n\r\n",
        f"GET /{LONG[:3900]}/ HTTP/1.1\r\nHost: x\r\n\r\n",
        f"GET /media/{'a/' * 2000} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    ]
    sent = 0
    with _kept(server) as send:
        for number in range(6000):
            sent += send(kinds[number % len(kinds)].encode())
    assert sent > 30_000_000
    assert ask(server.port, f"/media/?{LONG}", "GET", {"Content-Length": "99999999"})[0] in (400, 403, 404, 413)
    assert _log(server) - before < 4000


@contextmanager
def _kept(server: MediaServer) -> Iterator[Callable[[bytes], int]]:
    """A function that sends a request over a kept connection, and reconnects when the server has closed it."""
    connections: list[socket.socket] = []

    def send(data: bytes) -> int:
        for _ in range(3):
            if not connections:
                connections.append(socket.create_connection(("127.0.0.1", server.port), timeout=60))
            with suppress(OSError):
                connections[0].sendall(data)
                if connections[0].recv(65536):
                    return len(data)
            connections.pop().close()
        raise AssertionError("the server answers no more")

    try:
        yield send
    finally:
        for connection in connections:
            connection.close()


def test_whatever_is_written_all_the_same_is_cut(server: MediaServer) -> None:
    assert server._runtime_dir is not None
    with (server._runtime_dir / "error.log").open("ab", buffering=0) as log:
        for _ in range(8):
            log.write(b"one line of an error\n" * 200_000)
    wait_for(lambda: _log(server) <= LOG_BYTES, "a log that is short again")


def test_half_open_requests_end_and_honest_ones_are_answered(server: MediaServer) -> None:
    """Connections with an incomplete header, with no request, and with a missing body."""
    with half_open(server.port, 3000, b"GET /time HTTP/1.1\r\nHost: x\r\nX-Slow: ") as waiting:
        assert ask(server.port, "/time")[0] == 200
        wait_for(lambda: not still_open(waiting), "the end of 3,000 half-open requests")
    with half_open(server.port, 50, b"") as waiting:
        wait_for(lambda: not still_open(waiting), "the end of silent connections")
    with half_open(server.port, 1, b"GET /time HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 40_000) as waiting:
        wait_for(lambda: not still_open(waiting), "the end of a header without end")


def test_requests_of_one_address_have_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "big.m4s").write_bytes(bytes(64 << 20))
    request = b"GET /media/big.m4s HTTP/1.1\r\nHost: x\r\n\r\n"
    with (
        _installation(tmp_path, monkeypatch, STREAMWAVE_REQUESTS_PER_ADDRESS="20") as server,
        half_open(server.port, 20, request) as reading,
    ):
        for one in reading:
            assert one.recv(12, socket.MSG_PEEK | socket.MSG_WAITALL) == b"HTTP/1.1 200"
        assert ask(server.port, "/media/big.m4s", "HEAD")[0] == 429
        reading.pop().close()
        wait_for(lambda: ask(server.port, "/media/big.m4s", "HEAD")[0] == 200, "room for one more")


def _policy(server: MediaServer, path: str = "/") -> dict[str, str]:
    rules = ask(server.port, path)[1]["content-security-policy"].split("; ")
    return {rule.partition(" ")[0]: rule.partition(" ")[2] for rule in rules}


def test_only_this_server_frames_and_feeds_the_page_by_itself(server: MediaServer) -> None:
    policy = _policy(server)
    assert policy["frame-ancestors"] == "'self'"
    own = f"http://127.0.0.1:{server.port}"
    assert policy["connect-src"] == f"'self' {own}"
    assert policy["media-src"] == f"'self' blob: {own}"
    assert json.loads(ask(server.port, "/page.json")[2]) == {"origins": [own]}


def test_settings_say_who_else_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with _installation(
        tmp_path,
        monkeypatch,
        STREAMWAVE_EMBED_FROM="https://School.example, https://*.example.org:8443",
        STREAMWAVE_PLAY_FROM="https://tv.example",
        STREAMWAVE_BASE_URLS="https://cdn.example/live",
        STREAMWAVE_PUBLIC_URL="https://watch.example/here",
        STREAMWAVE_REQUESTS_PER_ADDRESS="0",
    ) as server:
        policy = _policy(server)
        assert policy["frame-ancestors"] == "'self' https://school.example https://*.example.org:8443"
        origins = ["https://tv.example", "https://cdn.example", "https://watch.example"]
        assert json.loads(ask(server.port, "/page.json")[2])["origins"] == origins
        assert policy["connect-src"].split()[1:] == origins
    with _installation(tmp_path, monkeypatch, STREAMWAVE_EMBED_FROM="*", STREAMWAVE_PLAY_FROM="*") as server:
        assert _policy(server)["frame-ancestors"] == "*"
        assert "https:" in _policy(server)["connect-src"].split()
