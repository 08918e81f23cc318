"""The RTMP part (gate and nginx-rtmp) as a process, fake hooks in place of ingest, and FFmpeg publishers and pullers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

from tests.support.ports import free_port
from tests.support.processes import descendants, program, wait_for

KEY = "verysecretkey"
RATE = 25
_SERVE = """
import asyncio, functools
from services.rtmp import __main__ as program
from streamwave.config.settings import Settings
# Hooks may take as long as a busy machine needs for them.
program.RtmpSettings = functools.partial(program.RtmpSettings, netcall_timeout_s=60)
program.set_up_log("info")
asyncio.run(program.serve(Settings.load(), update_interval_s=1))
"""


class Hooks(ThreadingHTTPServer):
    """Fake hooks: rename the key to the stream "show", accept names that begin with "fuzz", refuse others, record all calls."""

    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.calls: list[tuple[str, dict[str, str]]] = []
        self.changed = threading.Condition()

    def wait_for(self, path: str, call: str, timeout_s: float = 120) -> dict[str, str]:
        """Wait for the first request to ``path`` with ``call``, and return its fields."""
        with self.changed:
            found = self.changed.wait_for(
                lambda: [f for p, f in self.calls if p.endswith(path) and f["call"] == call], timeout_s
            )
        assert found, f"{call} did not come, only {self.calls}"
        return found[0]

    def count(self, call: str, name: str | None = None) -> int:
        """Number of requests with ``call``, for the stream key ``name`` or any."""
        with self.changed:
            return sum(fields.get("call") == call and name in (None, fields.get("name")) for _, fields in self.calls)


class _Handler(BaseHTTPRequestHandler):
    server: Hooks

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["Content-Length"])).decode("utf-8", "replace")
        fields = {name: values[0] for name, values in parse_qs(text, keep_blank_values=True).items()}
        place = {KEY: "show"}.get(fields.get("name", ""))
        if fields.get("name", "").startswith("fuzz"):
            place = fields["name"]
        publish = self.path.endswith("/start-stream")
        self.send_response(200 if not publish else 302 if place else 403)
        if publish and place:
            self.send_header("Location", place)
        self.send_header("Content-Length", "0")
        self.end_headers()
        with self.server.changed:
            self.server.calls.append((self.path, fields))
            self.server.changed.notify_all()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def hooks() -> Iterator[Hooks]:
    """Running hooks."""
    with Hooks() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(60)


class RtmpPart:
    """``python -m services.rtmp`` with ``environment``, with updates every second."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.environment, self.log = environment, folder / "rtmp.log"
        self.port = int(environment["STREAMWAVE_RTMP_PORT"])
        self.internal_port = int(environment["STREAMWAVE_RTMP_INTERNAL_PORT"])
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RtmpPart:
        begun = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _SERVE],
                cwd=Path(__file__).parents[2],
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_for(lambda: self._says_ready(begun), f"the RTMP part; see {self.log}")
        return self

    def _says_ready(self, since: int) -> bool:
        assert self.process is not None
        said = self.log.read_bytes()[since:]
        assert self.process.poll() is None, said.decode()
        return b"listening on" in said

    def __exit__(self, *_: object) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(signal.SIGTERM)
            try:
                assert process.wait(60) == 0
            finally:
                process.kill()
                process.wait()

    @property
    def pid(self) -> int:
        """PID of the gate."""
        assert self.process is not None
        return self.process.pid

    @property
    def nginx_pid(self) -> int:
        """PID of the only nginx-rtmp process."""
        (pid,) = [pid for pid in descendants(self.pid) if program(pid) == "nginx"]
        return pid


@contextmanager
def rtmp_part(folder: Path, hook_port: int, **variables: str) -> Iterator[RtmpPart]:
    """The RTMP part on unique ports, with the hooks at ``hook_port``."""
    environment = {
        "STREAMWAVE_STATE_DIR": str(folder / "var"),
        "STREAMWAVE_RTMP_HOST": "127.0.0.1",
        "STREAMWAVE_RTMP_PORT": str(free_port()),
        "STREAMWAVE_RTMP_INTERNAL_PORT": str(free_port()),
        "STREAMWAVE_INGEST_PORT": str(hook_port),
        **variables,
    }
    with RtmpPart(folder, environment) as part:
        yield part


def publish_command(port: int, name: str, seconds: int, *options: str) -> list[str]:
    """Command for an FFmpeg that publishes ``seconds`` of video in real time."""
    source = ["-re", "-f", "lavfi", "-i", f"testsrc2=size=64x36:rate={RATE}:duration={seconds}", "-pix_fmt", "yuv420p"]
    target = ["-c:v", "libx264", "-preset", "ultrafast", "-g", str(RATE), *options, "-f", "flv"]
    return ["ffmpeg", "-v", "error", "-nostdin", *source, *target, f"rtmp://127.0.0.1:{port}/live/{name}"]


def pull_command(part: RtmpPart, stream: str, target: Path) -> list[str]:
    """Command for an FFmpeg that pulls a stream from nginx-rtmp, as the segmenter does, into a file."""
    address = f"rtmp://127.0.0.1:{part.internal_port}/live/{stream}"
    return ["ffmpeg", "-v", "error", "-nostdin", "-i", address, "-c", "copy", "-f", "flv", "-y", str(target)]


def packets(path: Path) -> int:
    """Number of video packets in a file."""
    probe = ["ffprobe", "-v", "error", "-select_streams", "v", "-count_packets", "-show_entries"]
    shown = [*probe, "stream=nb_read_packets", "-of", "csv=p=0", str(path)]
    return int(subprocess.run(shown, capture_output=True, text=True, timeout=60, check=True).stdout.split()[0])


class LivePublisher:
    """An FFmpeg that publishes with a key until ``finish``, and one that pulls the stream."""

    def __init__(self, part: RtmpPart, hook: Hooks, folder: Path) -> None:
        self._progress, self._pulled = folder / "progress", folder / "pulled.flv"
        self._puller = subprocess.Popen(pull_command(part, "show", self._pulled), stdin=subprocess.DEVNULL)
        hook.wait_for("/play-stream", "play")  # else it could miss the first pictures
        command = publish_command(part.port, KEY, 3600, "-progress", str(self._progress), "-stats_period", "0.1")
        self._publisher = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        wait_for(lambda: self.sent() > RATE, "pictures of the live publisher")

    def sent(self) -> int:
        """Number of frames that FFmpeg has sent, by its own count."""
        found = re.findall(rb"^frame=(\d+)$", self._progress.read_bytes() if self._progress.exists() else b"", re.M)
        return int(found[-1]) if found else 0

    def lives(self) -> bool:
        """Whether the publisher is still connected."""
        return self._publisher.poll() is None and self._puller.poll() is None

    def finish(self) -> tuple[int, int]:
        """End the publish. Returns the numbers of frames sent and pulled."""
        self._publisher.send_signal(signal.SIGINT)
        assert self._publisher.wait(60) in (0, 255)
        assert self._puller.wait(60) == 0
        return self.sent(), packets(self._pulled)

    def close(self) -> None:
        """Kill both processes."""
        for process in (self._publisher, self._puller):
            process.kill()
            process.wait()


def peak_memory(pid: int) -> int:
    """Peak resident memory of a process in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found, status
    return int(found[1]) * 1024
