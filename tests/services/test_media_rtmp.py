"""The RTMP side of the media server: real publishers and pullers (FFmpeg), real hooks."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from services.media import MediaServer, RtmpSettings
from tests.support.ports import free_port

KEY = "verysecretkey"


class Hooks(ThreadingHTTPServer):
    """Answers the hooks: renames the one key to the stream "show", refuses others, and keeps what it was told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.calls: list[tuple[str, dict[str, str]]] = []
        self.changed = threading.Condition()

    def wait_for(self, path: str, call: str, timeout_s: float = 10) -> dict[str, str]:
        """The fields of the first request to ``path`` that says ``call``."""
        with self.changed:
            found = self.changed.wait_for(
                lambda: [f for p, f in self.calls if p == path and f["call"] == call], timeout_s
            )
        assert found, f"{call} did not come, only {self.calls}"
        return found[0]


class Handler(BaseHTTPRequestHandler):
    server: Hooks

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        fields = {name: values[0] for name, values in parse_qs(text, keep_blank_values=True).items()}
        publish = self.path == "/start-stream"
        self.send_response(200 if not publish else 302 if fields["name"] == KEY else 403)
        if publish and fields["name"] == KEY:
            self.send_header("Location", "show")
        self.send_header("Content-Length", "0")
        self.end_headers()
        with self.server.changed:
            self.server.calls.append((self.path, fields))
            self.server.changed.notify_all()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    with Hooks() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join(5)


@pytest.fixture
def server(hooks: Hooks, tmp_path: Path) -> Iterator[MediaServer]:
    rtmp = RtmpSettings(
        port=free_port(), host="127.0.0.1", hooks_url=f"http://127.0.0.1:{hooks.server_port}", update_interval_s=1
    )
    with MediaServer(tmp_path, port=free_port(), host="127.0.0.1", rtmp=rtmp, runtime_dir=tmp_path / "run") as running:
        yield running


def publish(server: MediaServer, name: str, seconds: int) -> list[str]:
    assert server.rtmp
    source = ["-re", "-f", "lavfi", "-i", f"testsrc2=size=64x36:rate=25:duration={seconds}", "-pix_fmt", "yuv420p"]
    target = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-f", "flv"]
    return ["ffmpeg", "-v", "error", "-nostdin", *source, *target, f"rtmp://127.0.0.1:{server.rtmp.port}/live/{name}"]


def test_publish_pull_and_end(server: MediaServer, hooks: Hooks, tmp_path: Path) -> None:
    assert server.rtmp
    pulled = tmp_path / "pulled.flv"
    pull = ["ffmpeg", "-v", "error", "-nostdin", "-i", f"rtmp://127.0.0.1:{server.rtmp.port}/live/show"]
    with (
        subprocess.Popen([*pull, "-c", "copy", str(pulled)], stdin=subprocess.DEVNULL) as puller,
        subprocess.Popen(publish(server, KEY, 3), stdin=subprocess.DEVNULL) as publisher,
    ):
        try:
            # The pull may come first: it waits for the publisher.
            assert hooks.wait_for("/play-stream", "play")["name"] == "show"
            begun = hooks.wait_for("/start-stream", "publish")
            assert (begun["app"], begun["name"]) == ("live", KEY)
            # nginx-rtmp renames the stream, but goes on telling the name that the publisher gave: sessions have to be
            # told apart by client. Updates come for pullers too.
            for path, call in (("/update-stream", "update_publish"), ("/stop-stream", "publish_done")):
                told = hooks.wait_for(path, call)
                assert (told["name"], told["clientid"]) == (KEY, begun["clientid"])
            assert publisher.wait(30) == 0
            # The puller learns of the end at once and by itself.
            assert puller.wait(30) == 0
        finally:
            puller.kill()
            publisher.kill()
    probe = ["ffprobe", "-v", "error", "-count_packets", "-show_entries", "stream=nb_read_packets", "-of", "csv=p=0"]
    frames = subprocess.run([*probe, str(pulled)], capture_output=True, text=True, timeout=40, check=True).stdout
    assert int(frames) == 75
    assert KEY not in (tmp_path / "run" / "error.log").read_text()


def test_unknown_key_is_refused(server: MediaServer, hooks: Hooks) -> None:
    done = subprocess.run(publish(server, "guess", 3), capture_output=True, timeout=40)
    assert done.returncode != 0
    assert hooks.wait_for("/start-stream", "publish")["name"] == "guess"


def test_hook_that_is_down_refuses(server: MediaServer, hooks: Hooks) -> None:
    hooks.socket.close()
    assert subprocess.run(publish(server, KEY, 3), capture_output=True, timeout=40).returncode != 0


def test_only_allowed_addresses_pull(hooks: Hooks, tmp_path: Path) -> None:
    rtmp = RtmpSettings(port=free_port(), host="127.0.0.1", play_from=("192.0.2.1",))
    pull = ["ffmpeg", "-v", "error", "-nostdin", "-i", f"rtmp://127.0.0.1:{rtmp.port}/live/show", "-f", "null", "-"]
    with MediaServer(tmp_path, port=free_port(), host="127.0.0.1", rtmp=rtmp):
        done = subprocess.run(pull, capture_output=True, timeout=40)
    assert done.returncode != 0
    assert hooks.calls == []
