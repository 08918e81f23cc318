"""Which hosts sources may be fetched from, and that libavformat in a confined process gets to no other."""

from __future__ import annotations

import http.server
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streamwave.config.settings import Settings
from streamwave.errors import SourceError
from streamwave.sources import hosts as source_hosts
from streamwave.sources.hosts import check_host, is_listening, to_hosts
from tests.support.media import ffmpeg

ROOT = Path(__file__).resolve().parents[3]

INSIDE = [
    "127.0.0.1", "127.1", "2130706433", "0x7f000001", "017700000001", "localhost", "0.0.0.0", "[::1]", "[::]",
    "[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b::a00:1]", "[2002:7f00:1::]",
    "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "100.100.100.200", "169.254.169.254", "168.63.129.16",
    "[fe80::1]", "[fd00:ec2::254]", "[fc00::1]", "224.0.0.1", "239.1.1.1", "[ff02::1]", "255.255.255.255", "192.0.2.1",
    "[fec0::2]", "[64:ff9b:1::7f00:1]", "[::127.0.0.1]", "[::ffff:0:7f00:1]", "[5f00::1]", "192.88.99.1",
    "no-such-host.invalid",
]  # fmt: skip


@pytest.mark.parametrize("host", INSIDE)
@pytest.mark.parametrize(
    "form", ["http://{}/x", "https://{}:22/x", "rtmp://{}/live/x", "rtmps://u:p@{}/a/b", "srt://{}:9"]
)
def test_what_is_not_public_is_refused_in_the_same_words(form: str, host: str) -> None:
    with pytest.raises(SourceError, match="are not allowed .*STREAMWAVE_SOURCE_HOSTS can allow it") as caught:
        check_host(form.format(host), ())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://93.184.216.34/x", "rtmp://[2606:2800:220:1::1]/a/b", "srt://8.8.8.8:9", "file:/x"]
)
def test_what_is_public_passes(url: str) -> None:
    check_host(url, ())


def test_what_is_allowed_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = Settings.load(env_file=None, source_hosts="10.0.0.0/8, Encoder.LAN, fd00::/8, 127.0.0.1").source_hosts
    assert allowed == ("10.0.0.0/8", "encoder.lan", "fd00::/8", "127.0.0.1")
    for url in ("http://10.2.3.4/x", "srt://[fd00::5]:9", "http://127.0.0.1:8/x", "http://[::ffff:10.0.0.1]/"):
        check_host(url, allowed)
    with pytest.raises(SourceError):
        check_host("http://127.0.0.2/x", allowed)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("192.168.7.7", 0))])
    check_host("rtmp://encoder.lan./live/x", allowed)
    with pytest.raises(SourceError):
        check_host("rtmp://other.lan/live/x", allowed)


def test_one_address_of_several_that_is_not_public_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [(2, 1, 6, "", (number, 0)) for number in ("93.184.216.34", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    with pytest.raises(SourceError):
        check_host("http://mixed.example/", ())


@pytest.mark.parametrize("value", ["http://x", "a b", "10.0.0.0/99", "*", "x;y"])
def test_settings_that_are_no_hosts(value: str) -> None:
    with pytest.raises(ValueError, match="not a list"):
        to_hosts(value)


@pytest.mark.parametrize(
    ("url", "listens"),
    [
        ("srt://0.0.0.0:9000?mode=listener", True),
        ("srt://:9000?latency=1&mode=listener", True),
        ("srt://127.0.0.1:9000", False),
        ("srt://127.0.0.1:9000?mode=%6cistener", False),
        ("srt://127.0.0.1:9000?mode=caller&mode=listener", False),
        ("srt://127.0.0.1:9000?mode=listener&mode=caller", False),
        ("srt://127.0.0.1:9000?xmode=listener", False),
        ("http://127.0.0.1/?mode=listener", False),
    ],
)
def test_only_a_listener_needs_no_host(url: str, listens: bool) -> None:
    assert is_listening(url) is listens


def test_addresses_that_are_pinned_keep_their_name_for_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_hosts, "_allowed", ("media.example",))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("192.168.7.7", 0))])
    for url, pinned, tcurl in [
        ("rtmp://media.example/live/x?a=b", "rtmp://192.168.7.7:1935/live/x?a=b", "rtmp://media.example:1935/live"),
        ("rtmp://u:p@media.example:19/a/b/c", "rtmp://u:p@192.168.7.7:19/a/b/c", "rtmp://media.example:19/a/b"),
        ("rtmp://media.example/live/mp4:a/b", "rtmp://192.168.7.7:1935/live/mp4:a/b", "rtmp://media.example:1935/live"),
    ]:
        assert source_hosts.reach(url) == (pinned, {"rtmp_tcurl": tcurl})
    assert source_hosts.reach("srt://media.example:9?latency=1") == ("srt://192.168.7.7:9?latency=1", {})
    assert source_hosts.reach("http://media.example/x") == ("http://media.example/x", {})


class _Web:
    """A web server on an address of its own; ``asked`` are the paths that were asked for."""

    def __init__(self, host: str, pages: dict[str, tuple[int, dict[str, str], bytes]]) -> None:
        self.asked: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                status, headers, body = outer.pages.get(self.path, (404, {}, b""))
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                return

        self.pages = pages
        self.server = http.server.ThreadingHTTPServer((host, 0), Handler)
        self.url = f"http://{host}:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@contextmanager
def _webs(clip: bytes) -> Iterator[tuple[_Web, _Web]]:
    """One that is allowed and one that is not; the first leads to the second in every way."""
    inner = _Web("127.0.0.2", {"/secret.ts": (200, {}, clip)})
    target = f"{inner.url}/secret.ts"
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n".encode()
    master = f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{inner.url}/secret.m3u8\n".encode()
    key = f'#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-KEY:METHOD=AES-128,URI="{inner.url}/key"\n#EXTINF:1,\nclip.ts\n'
    outer = _Web(
        "127.0.0.1",
        {
            "/clip.ts": (200, {}, clip),
            "/moved": (302, {"Location": target}, b""),
            "/list.m3u8": (200, {}, playlist),
            "/master.m3u8": (200, {}, master),
            "/key.m3u8": (200, {}, (key + "#EXT-X-ENDLIST\n").encode()),
            "/concat": (200, {}, f"ffconcat version 1.0\nfile '{target}'\n".encode()),
        },
    )
    try:
        yield outer, inner
    finally:
        for web in (outer, inner):
            web.server.shutdown()
            web.server.server_close()


_OPEN = """
import json, os, sys
from streamwave.sources import hosts as source_hosts
from streamwave.ffmpeg.probe import open_source
allowed, urls = json.loads(sys.argv[1])
if allowed is not None:
    source_hosts.confine(allowed)
found = {}
for url in urls:
    try:
        with open_source(url, open_timeout_s=10, read_timeout_s=10) as container:
            found[url] = sum(1 for packet in container.demux() if packet.size)
    except Exception as error:
        found[url] = str(error)
print(json.dumps([found, "http_proxy" in os.environ]))
"""


def _opened(allowed: list[str] | None, urls: list[str]) -> tuple[dict[str, int | str], bool]:
    """What a process of its own gets from each address: the number of packets, or an error."""
    done = subprocess.run(
        [sys.executable, "-c", _OPEN, json.dumps([allowed, urls])], cwd=ROOT, capture_output=True, text=True, timeout=120,
        check=True, env={"PATH": "/usr/bin:/bin", "no_proxy": "127.0.0.2"},
    )  # fmt: skip
    found, seen = json.loads(done.stdout)
    return found, seen


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("clip") / "clip.ts"
    made = ("-f", "lavfi", "-i", "testsrc=size=64x36:rate=25:duration=1", "-c:v", "libx264", "-preset", "ultrafast")
    ffmpeg(*made, str(path))
    return path.read_bytes()


def test_neither_redirects_nor_playlists_lead_to_a_host_that_is_not_allowed(clip: bytes) -> None:
    ways = ["moved", "list.m3u8", "master.m3u8", "key.m3u8", "concat"]
    with _webs(clip) as (outer, inner):
        urls = [f"{outer.url}/{way}" for way in ways]
        found, seen = _opened(["127.0.0.1"], [f"{outer.url}/clip.ts", *urls, f"{inner.url}/secret.ts"])
        assert inner.asked == []
        assert found[f"{outer.url}/clip.ts"] == 25
        assert not any(isinstance(found[url], int) and found[url] for url in urls[:4]), found
        assert not seen  # Python's own connections go where they went before
        # Without that they are taken: the person at the command line reaches everything.
        found, _ = _opened(None, urls[:2])
        assert [found[url] for url in urls[:2]] == [25, 25] and inner.asked


def test_open_and_closed_ports_inside_look_the_same() -> None:
    with socket.create_server(("127.0.0.2", 0)) as server:
        port = server.getsockname()[1]
        free = socket.create_server(("127.0.0.2", 0))
        closed = free.getsockname()[1]
        free.close()
        urls = [
            f"{scheme}://127.0.0.2:{p}/a/b" for scheme in ("http", "https", "rtmp", "rtmps") for p in (port, closed)
        ]
        found, _ = _opened([], urls)
        for first, second in zip(urls[::2], urls[1::2], strict=True):
            assert str(found[first]).replace(str(port), "") == str(found[second]).replace(str(closed), "")
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.accept()


def test_a_name_that_changes_its_address_after_the_check_leads_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([["93.184.216.34"], ["127.0.0.1"]])
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", (number, 0)) for number in next(answers)]
    )
    check_host("rtmp://rebound.example/live/x", ())
    monkeypatch.setattr(source_hosts, "_allowed", ())
    with pytest.raises(SourceError):
        source_hosts.reach("rtmp://rebound.example/live/x")
