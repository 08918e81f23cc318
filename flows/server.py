"""Runs Prefect's server, for the duration of one command or as a part of an installation."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from streamwave.config.prefect_env import SERVER_ENV
from streamwave.errors import StreamWaveError
from streamwave.ffmpeg.process import kill, spawn
from streamwave.util.loading import without_collecting
from streamwave.util.logs import ShortLog
from streamwave.util.private import make_folder, python_argv
from streamwave.util.trust import away_from_here, safe_folder

PROJECT = Path(__file__).resolve().parents[1]
#: The first start migrates the database, which takes most of a minute on a slow machine.
START_LIMIT_S = 120
#: Where the server of one command listens.
HOST = "127.0.0.1"


@dataclass(frozen=True)
class StartingServer:
    """A server whose process has been started. ``url`` is its API's."""

    url: str
    process: subprocess.Popen[bytes]
    log_path: Path

    def wait(self) -> None:
        """Wait until it answers.

        Raises:
            StreamWaveError: it did not become healthy; the message names its log.
        """
        wait_healthy(self.url, self.process, self.log_path)


@contextmanager
def prefect_server(home: Path, auth: str, *, port: int | None = None) -> Iterator[str]:
    """Run a Prefect server whose database is in ``home``, and yield its API's URL.

    The server requires ``auth`` (USER:PASSWORD), and accepts the host names of this machine.

    Raises:
        StreamWaveError: the server did not become healthy; the message names its log.
    """
    with starting_server(home, auth, port or free_port()) as server:
        server.wait()
        yield server.url


@contextmanager
def starting_server(home: Path, auth: str, port: int) -> Iterator[StartingServer]:
    """Start a server like ``prefect_server``, and yield without waiting for it."""
    log_path = home / "server.log"
    make_folder(home)
    with log_path.open("ab") as log:
        process = spawn(
            server_argv(HOST, port),
            stdout=log,
            stderr=log,
            env=server_environment(home, auth, host=HOST, port=port, ui=False),
            cwd=safe_folder(home),
        )
    try:
        with ShortLog(log_path):
            yield StartingServer(f"http://{HOST}:{port}/api", process, log_path)
    finally:
        kill(process, grace_s=5)


def load_prefect(home: Path) -> None:
    """Import Prefect, which reads its settings at import, from a folder that no other user can write to.

    Raises:
        SettingsError: the working folder has Prefect settings that another user could have written.
    """
    with without_collecting(), away_from_here(home):
        import prefect.main  # noqa: F401


def server_argv(host: str, port: int) -> list[str]:
    """Command line of the server."""
    return [
        # Without --app-dir, uvicorn would search the working folder for modules first.
        *python_argv("uvicorn", "--app-dir", str(PROJECT), "--factory", "flows.prefect_app:create"),
        "--host", host, "--port", str(port), "--log-level", "error", "--lifespan", "on", "--no-proxy-headers",
    ]  # fmt: skip


def server_environment(
    home: Path, auth: str, *, host: str, port: int, ui: bool, allowed_hosts: Sequence[str] = ()
) -> dict[str, str]:
    """Environment of a server whose database is in ``home`` and which requires ``auth``."""
    environment = {
        **os.environ,
        **SERVER_ENV,
        "PREFECT_HOME": str(home),
        "PREFECT_UI_ENABLED": "1" if ui else "0",
        "PREFECT_SERVER_API_HOST": host,
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_API_AUTH_STRING": auth,
        # The server's own services are clients of its API too.
        "PREFECT_API_AUTH_STRING": auth,
        # With a relative URL the UI calls the server that it was loaded from, so no other origin has to be allowed.
        "PREFECT_SERVER_UI_API_URL": "/api",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://127.0.0.1:{port}",
        "STREAMWAVE_ALLOWED_HOSTS": ",".join(allowed_hosts),
        "PYTHONPATH": os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    environment.pop("PREFECT_API_URL", None)
    return environment


def wait_healthy(url: str, process: subprocess.Popen[bytes], log_path: Path) -> None:
    """Wait until the API answers.

    Raises:
        StreamWaveError: the process ended, or the API did not answer in time.
    """
    end = time.monotonic() + START_LIMIT_S
    with httpx.Client(timeout=2, trust_env=False) as client:
        while True:
            try:
                if client.get(f"{url}/health").status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            if process.poll() is not None or time.monotonic() > end:
                raise StreamWaveError(f"Prefect's server did not start; its log {log_path} says why")
            time.sleep(0.1)


def free_port() -> int:
    """A TCP port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
