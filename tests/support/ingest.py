"""The ingest service as a process, with a client for its HTTP API."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from streamwave.config.settings import Settings
from streamwave.spool.broadcast import broadcasts
from streamwave.spool.journal import EndRecord, JournalReader, writer_pid
from tests.support.ports import free_port
from tests.support.processes import kill, wait_for

ADMIN = "an-administrators-token"


BEARER = {"Authorization": f"Bearer {ADMIN}"}


#: The service with more time for a segmenter to come to its source than the 5 s after which a publish is refused.
PATIENT = """
import runpy
from services.ingest import sessions
sessions.PULL_TIMEOUT_S, sessions.ANSWER_S = 50.0, 55.0
runpy.run_module("services.ingest", run_name="__main__")
"""


class Ingest:
    """``python -m services.ingest`` in its own folder, and a client for it."""

    def __init__(self, folder: Path, *, patient: bool = False, **variables: str) -> None:
        self._program = ["-c", PATIENT] if patient else ["-m", "services.ingest"]
        self.folder, self.log = folder, folder / "ingest.log"
        self.environment = {
            "STREAMWAVE_STATE_DIR": str(folder / "var"),
            "OUTPUT_DIR": str(folder / "out"),
            "STREAMWAVE_INGEST_PORT": str(free_port()),
            "STREAMWAVE_RTMP_PORT": str(free_port()),
            "STREAMWAVE_RTMP_INTERNAL_PORT": str(free_port()),
            "STREAMWAVE_MEDIA_PORT": str(free_port()),
            "STREAMWAVE_GRPC_PORT": str(free_port()),
            "PREFECT_API_URL": f"http://127.0.0.1:{free_port()}/api",
            "STREAMWAVE_ADMIN_TOKEN": ADMIN,
            "STREAMWAVE_ALLOWED_FILE_ROOTS": str(folder / "media"),
            "STREAMWAVE_SOURCE_HOSTS": "127.0.0.1",
            **variables,
        }
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            self.settings = Settings.load(env_file=None)
        self.url = f"http://127.0.0.1:{self.settings.ingest_port}"
        self.client = httpx.Client(base_url=self.url, timeout=60, trust_env=False, verify=False)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self._program],
                cwd=Path(__file__).parents[2],
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_for(self.answers, "the ingest service")

    def answers(self) -> bool:
        assert self.process and self.process.poll() is None, self.log.read_text()
        try:
            return self.client.get("/healthz").json() == {"status": "ok"}
        except httpx.TransportError:
            return False

    def stop(self, number: int = signal.SIGTERM) -> int:
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(number)
        try:
            return process.wait(60)
        finally:
            process.kill()
            process.wait()

    def close(self) -> None:
        self.stop()
        self.client.close()
        # Segmenters deliberately outlive the service.
        for session in self.sessions():
            if (pid := writer_pid(session)) is not None:
                kill(pid)

    def add(self, name: str) -> str:
        """Add a stream and return its key."""
        answer = self.client.post("/streams", json={"name": name}, headers=BEARER)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["key"])

    def sessions(self, stream: str | None = None) -> list[Path]:
        return [path for found in broadcasts(self.settings.spool_dir, stream) for path in found.sessions()]

    def hook(self, path: str, /, **fields: str) -> httpx.Response:
        return self.client.post(f"/{path}", data={"clientid": "7", "addr": "127.0.0.1", **fields})


@contextmanager
def running(folder: Path, *, patient: bool = False, **variables: str) -> Iterator[Ingest]:
    ingest = Ingest(folder, patient=patient, **variables)
    try:
        ingest.start()
        yield ingest
    finally:
        ingest.close()


def end_of(session: Path) -> EndRecord | None:
    lines = JournalReader(session).read()
    return lines[-1] if lines and isinstance(lines[-1], EndRecord) else None
