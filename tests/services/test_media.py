"""The media server over HTTP."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.media.server import MediaServer, PublishAddress
from streamwave.errors import OutputError, SettingsError
from tests.support.asking import ask
from tests.support.cli import ROOT
from tests.support.ports import free_port
from tests.support.processes import alive, wait_for

MANIFEST = "<MPD>" + "x" * 4000 + "</MPD>"


def wait_until_refused(port: int, timeout_s: float = 60) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return True
        time.sleep(0.02)
    return False


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # A name with characters that need quoting in nginx's configuration.
    root = tmp_path_factory.mktemp("out") / 'a "quoted" name; {with} # signs'
    (root / "show" / "p0").mkdir(parents=True)
    (root / "show" / "ledger").mkdir()
    (root / "show" / ".tmp").mkdir()
    (root / "show" / "manifest.mpd").write_text(MANIFEST)
    (root / "show" / "master.m3u8").write_text("#EXTM3U\n")
    (root / "broadcasts.json").write_text('{"broadcasts": []}')
    (root / "show" / "p0" / "init.mp4").write_bytes(b"init")
    (root / "show" / "p0" / "0.m4s").write_bytes(bytes(range(256)) * 4)
    (root / "show" / "export.mp4").write_bytes(b"whole")
    (root / "show" / "picture.jpg").write_bytes(b"jpeg")
    (root / "show" / ".manifest.mpd.123").write_text("half")
    (root / "show" / ".tmp" / "x.m4s").write_text("half")
    (root / "show" / "ledger" / "000000.jsonl").write_text("secret")
    outside = root.parent / "outside.m4s"
    outside.write_text("secret")
    (root / "show" / "p0" / "link.m4s").symlink_to(outside)
    (root / "show" / "link.mpd").symlink_to(outside)
    (root / "up").symlink_to(root.parent)
    return root


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[MediaServer]:
    with MediaServer(root, port=free_port(), host="127.0.0.1") as running:
        yield running


@pytest.mark.parametrize(
    ("path", "content_type", "immutable"),
    [
        ("/", "text/html", False),
        ("/app.js", "text/javascript", False),
        ("/style.css", "text/css", False),
        ("/media/show/manifest.mpd", "application/dash+xml", False),
        ("/media/show/master.m3u8", "application/vnd.apple.mpegurl", False),
        ("/media/broadcasts.json", "application/json", False),
        ("/media/show/p0/init.mp4", "video/mp4", True),
        ("/media/show/p0/0.m4s", "video/mp4", True),
        ("/media/show/export.mp4", "video/mp4", False),
        ("/media/show/picture.jpg", "image/jpeg", False),
        ("/vendor/dashjs/dist/modern/esm/dash.all.min.js", "text/javascript", False),
        ("/vendor/hls.js/dist/hls.min.mjs", "text/javascript", False),
        ("/vendor/shaka-player/dist/shaka-player.compiled.js", "text/javascript", False),
    ],
)
def test_types_caching_and_cors(server: MediaServer, path: str, content_type: str, immutable: bool) -> None:
    status, headers, body = ask(server.port, path)
    assert status == 200 and body
    assert headers["content-type"] == content_type
    assert headers["cache-control"] == ("public, max-age=31536000, immutable" if immutable else "no-cache")
    assert headers["access-control-allow-origin"] == "*"
    exposed = set(headers["access-control-expose-headers"].split(", "))
    assert {"Date", "Content-Length", "Content-Range"} <= exposed
    assert headers["x-content-type-options"] == "nosniff"


def test_tells_the_page_where_to_publish(server: MediaServer, tmp_path: Path) -> None:
    status, headers, body = ask(server.port, "/rtmp.json")
    assert (status, headers["content-type"], json.loads(body)) == (200, "application/json", None)
    rtmp = PublishAddress(port=free_port(), application='on "air"')
    with MediaServer(tmp_path, port=free_port(), host="127.0.0.1", rtmp=rtmp) as other:
        assert json.loads(ask(other.port, "/rtmp.json")[2]) == {"port": rtmp.port, "application": 'on "air"'}


@pytest.mark.parametrize(
    "path",
    [
        "/media/show/none.m4s",
        "/media/show/ledger/000000.jsonl",
        "/media/show/ledger",
        "/media/show/%6cedger/000000.jsonl",
        "/media//show/./ledger//000000.jsonl",
        "/media/show/.manifest.mpd.123",
        "/media/show/.tmp/x.m4s",
        "/media/show/%2etmp/x.m4s",
        "/media/show/p0/link.m4s",
        "/media/show/link.mpd",
        "/media/up/outside.m4s",
        "/media/",
        "/media/show/",
        "/media../outside.m4s",
        "/media/../outside.m4s",
        "/media/%2e%2e/outside.m4s",
        "/media/..%2foutside.m4s",
        "/media/show/../../outside.m4s",
        "/media/show/manifest.mpd%00.m4s",
        "/vendor/",
        "/vendor/dashjs/package.json",
        "/vendor/dashjs/dist/../package.json",
        "/vendor/imsc/package.json",
        "/vendor/.package-lock.json",
        "/.env",
        "/../package.json",
    ],
)
def test_refuses(server: MediaServer, path: str) -> None:
    status, headers, body = ask(server.port, path)
    assert status in (400, 403, 404)
    assert b"secret" not in body and b"half" not in body and b"Index of" not in body
    # A segment that is missing now may exist in a second.
    assert "immutable" not in headers.get("cache-control", "")


def test_missing_segment_is_not_remembered_and_can_be_read_by_scripts(server: MediaServer) -> None:
    status, headers, _ = ask(server.port, "/media/show/p0/999.m4s")
    assert (status, headers["cache-control"], headers["access-control-allow-origin"]) == (404, "no-store", "*")


def test_ranges(server: MediaServer) -> None:
    status, headers, body = ask(server.port, "/media/show/p0/0.m4s", headers={"Range": "bytes=10-19"})
    assert (status, body) == (206, bytes(range(10, 20)))
    assert headers["content-range"] == "bytes 10-19/1024"
    assert ask(server.port, "/media/show/p0/0.m4s", headers={"Range": "bytes=5000-"})[0] == 416


@pytest.mark.parametrize("path", ["/media/show/p0/0.m4s", "/media/show/manifest.mpd", "/time", "/"])
def test_preflight(server: MediaServer, path: str) -> None:
    status, headers, body = ask(server.port, path, "OPTIONS", {"Origin": "http://elsewhere", "Range": "bytes=0-1"})
    assert (status, body) == (204, b"")
    assert "Range" in headers["access-control-allow-headers"]
    assert headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_written(server: MediaServer, root: Path, method: str) -> None:
    assert ask(server.port, "/media/show/manifest.mpd", method)[0] == 405
    assert (root / "show" / "manifest.mpd").read_text() == MANIFEST


def test_manifests_are_compressed_and_segments_are_not(server: MediaServer) -> None:
    _, headers, body = ask(server.port, "/media/show/manifest.mpd", headers={"Accept-Encoding": "gzip"})
    assert headers["content-encoding"] == "gzip" and len(body) < 200
    assert gzip.decompress(body).decode() == MANIFEST
    _, headers, body = ask(server.port, "/media/show/p0/0.m4s", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in headers and len(body) == 1024


def test_manifest_that_changes_within_a_second_without_changing_size(server: MediaServer, root: Path) -> None:
    path = root / "show" / "live.mpd"
    path.write_text("<MPD>1</MPD>")
    before = path.stat()
    _, headers, _ = ask(server.port, "/media/show/live.mpd")
    path.write_text("<MPD>2</MPD>")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    conditions = {"If-Modified-Since": headers.get("last-modified", ""), "If-None-Match": headers.get("etag", '"x"')}
    status, _, body = ask(server.port, "/media/show/live.mpd", headers=conditions)
    assert (status, body) == (200, b"<MPD>2</MPD>")


def assert_between(before: datetime, body: bytes) -> None:
    """The time that the server says lies between ``before`` and now; it is said in milliseconds."""
    margin = timedelta(milliseconds=50)  # nginx looks at the clock now and then
    assert before - margin <= datetime.fromisoformat(body.decode()) <= datetime.now(UTC) + margin


def test_time_is_utc_with_milliseconds(server: MediaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    before = datetime.now(UTC)
    status, headers, body = ask(server.port, "/time")
    assert status == 200 and headers["cache-control"] == "no-store"
    assert re.fullmatch(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", body)
    assert_between(before, body)


def test_time_is_utc_wherever_we_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    with MediaServer(tmp_path, port=free_port(), host="127.0.0.1") as server:
        before = datetime.now(UTC)
        body = ask(server.port, "/time")[2]
    assert_between(before, body)


def test_port_that_is_taken(tmp_path: Path, server: MediaServer) -> None:
    begin = time.monotonic()
    with pytest.raises(SettingsError, match=rf"127\.0\.0\.1:{server.port} is taken by another program") as caught:
        MediaServer(tmp_path, port=server.port, host="127.0.0.1").start()
    assert time.monotonic() - begin < 20  # nginx itself would go on trying
    assert "\n" not in str(caught.value)
    assert ask(server.port, "/time")[0] == 200


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_impossible_ports(tmp_path: Path, port: int) -> None:
    with pytest.raises(SettingsError, match="not a port"):
        MediaServer(tmp_path, port=port).start()


@pytest.mark.parametrize("name", ["$HOME", "line\nbreak"])
def test_impossible_root(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="use a name without"):
        MediaServer(tmp_path / name).start()


def test_address_that_is_not_ours(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot listen on 192\.0\.2\.1"):
        MediaServer(tmp_path, port=free_port(), host="192.0.2.1").start()


def test_nginx_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(SettingsError, match="apt install nginx"):
        MediaServer(tmp_path).start()


def test_runtime_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="choose another runtime directory"):
        MediaServer(tmp_path, runtime_dir=tmp_path / "file" / "run").start()


def test_everything_it_writes_is_in_its_runtime_directory_and_it_ends_whole(tmp_path: Path) -> None:
    runtime = tmp_path / "run"
    server = MediaServer(tmp_path, port=free_port(), host="127.0.0.1", runtime_dir=runtime)
    with server:
        pid = server.pid
        assert pid is not None
        assert (runtime / "nginx.pid").read_text().strip() == str(pid)
        workers = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, timeout=60).stdout.split()
        assert workers
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (runtime, runtime / "nginx.conf")}
        assert modes == {"run": 0o700, "nginx.conf": 0o600}
    assert server.pid is None
    wait_for(lambda: not any(map(alive, [pid, *map(int, workers)])), "the end of nginx")
    assert "[warn]" not in (runtime / "error.log").read_text()
    # A second start with the same runtime directory.
    with server:
        assert ask(server.port, "/time")[0] == 200


def test_ends_although_a_viewer_reads_slowly(tmp_path: Path) -> None:
    (tmp_path / "big.m4s").write_bytes(bytes(32 << 20))
    server = MediaServer(tmp_path, port=free_port(), host="127.0.0.1")
    with server, socket.create_connection(("127.0.0.1", server.port), timeout=60) as viewer:
        viewer.sendall(b"GET /media/big.m4s HTTP/1.1\r\nHost: x\r\n\r\n")
        assert viewer.recv(100).startswith(b"HTTP/1.1 200")
        begin = time.monotonic()
        server.stop()
    assert time.monotonic() - begin < 20
    assert wait_until_refused(server.port)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_alone_and_never_outlives_its_owner(tmp_path: Path, sign: signal.Signals) -> None:
    port = free_port()
    command = [sys.executable, "-m", "services.media", "--root", str(tmp_path), "--port", str(port)]
    # A killed process cannot remove its temporary runtime directory, so create it inside the test's folder.
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    owner = subprocess.Popen([*command, "--host", "127.0.0.1"], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=env)
    try:
        assert owner.stdout is not None
        assert f"http://127.0.0.1:{port}/" in owner.stdout.readline()
        assert ask(port, "/time")[0] == 200
        owner.send_signal(sign)
        assert owner.wait(60) == (-sign if sign == signal.SIGKILL else 0)
        assert wait_until_refused(port)
    finally:
        owner.kill()
        owner.communicate(timeout=60)


def test_alone_explains_itself_in_one_line(tmp_path: Path, server: MediaServer) -> None:
    command = [sys.executable, "-m", "services.media", "--root", str(tmp_path), "--port", str(server.port)]
    done = subprocess.run([*command, "--host", "127.0.0.1"], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == SettingsError.exit_code
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
