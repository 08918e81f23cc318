"""The media server: nginx as a child process that never outlives this process.

It serves the player page (``/``), the players (``/vendor/``), the output (``/media/``), the address for publishers
(``/rtmp.json``), what the page may play (``/page.json``) and the UTC time (``/time``). RTMP has an nginx of its own: see
services/rtmp.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import resource
import signal
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from services.media.exposure import DEFAULT, Exposure
from services.nginx import CAPABILITIES, explain, find_nginx, listen_address, quoted, render, user_directive
from streamwave.errors import OutputError, StreamWaveError
from streamwave.state.secret import write_secret
from streamwave.util.confine import guarded
from streamwave.util.logs import ShortLog

#: A connection needs two descriptors: one for the client, one for the file. A connection that never completes its header
#: occupies at most 17 kB, so all connections together occupy about 140 MB.
_MAX_OPEN_FILES = 16384

HERE = Path(__file__).resolve().parent


def find_players() -> Path:
    """The folder with the players: inside an installed package, or ``node_modules`` of a checkout."""
    packaged = HERE / "players"
    return packaged if packaged.is_dir() else HERE.parents[1] / "node_modules"


@dataclass(frozen=True)
class PublishAddress:
    """Where publishers connect, as the page shows it: ``rtmp://<this machine>:port/application``."""

    port: int = 1936
    application: str = "live"


def render_config(
    root: Path,
    web: Path,
    vendor: Path,
    host: str = "0.0.0.0",
    port: int = 8080,
    rtmp: PublishAddress | None = None,
    exposure: Exposure = DEFAULT,
) -> str:
    """nginx's configuration. ``root``, ``web`` and ``vendor`` are absolute paths.

    Raises:
        SettingsError: nginx cannot be given one of the values.
    """
    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    open_files = _MAX_OPEN_FILES if hard_limit == resource.RLIM_INFINITY else min(_MAX_OPEN_FILES, hard_limit)
    return render(
        HERE / "nginx.conf.template",
        {
            "user": user_directive(),
            "open_files": str(open_files),
            "connections": str(open_files // 2),
            "listen": listen_address(host, port),
            # nginx follows symbolic links on the way to these directories, which the operator made, but not inside them.
            "from_media": quoted(root, prefix="from="),
            "from_vendor": quoted(vendor, prefix="from="),
            "from_web": quoted(web, prefix="from="),
            "media_slash": quoted(root, "/"),
            "media_manifest": quoted(root, "/$manifest"),
            "vendor_package": quoted(vendor, "/$package"),
            "web": quoted(web),
            "publish": quoted(json.dumps(asdict(rtmp) if rtmp else None, ensure_ascii=False)),
            **exposure.values(),
        },
    )


class MediaServer:
    """nginx that serves ``root`` and ``web`` on ``port``; use as a context manager, or call ``start`` and ``stop``.

    ``runtime_dir`` holds configuration, pid, log and temporary files; by default it is a temporary folder that ``stop``
    removes. The kernel ends nginx when the thread that called ``start`` ends, so call it from a long-lived thread.

    Raises on start:
        SettingsError: nginx is not installed, or the port is taken or not permitted.
        OutputError: the runtime directory cannot be written.
        StreamWaveError: nginx does not start.
    """

    def __init__(
        self,
        root: Path,
        web: Path | None = None,
        port: int = 8080,
        rtmp: PublishAddress | None = None,
        runtime_dir: Path | None = None,
        *,
        host: str = "0.0.0.0",
        vendor: Path | None = None,
        exposure: Exposure = DEFAULT,
        start_timeout_s: float = 10,
    ) -> None:
        self.root = root.resolve()
        self.web = (web or HERE / "page").resolve()
        self.vendor = (vendor or find_players()).resolve()
        self.host, self.port, self.rtmp = host, port, rtmp
        self._exposure = exposure
        self._start_timeout_s = start_timeout_s
        self._runtime_dir = runtime_dir
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._log: ShortLog | None = None

    @property
    def url(self) -> str:
        """URL of the server for clients on this machine, without a trailing slash."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def pid(self) -> int | None:
        """Process id of nginx's master process; None while nginx does not run."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def __enter__(self) -> MediaServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Start nginx, and return once it answers; does nothing if it runs."""
        if self.pid is not None:
            return
        binary = find_nginx()
        # Render first: invalid settings must fail before any folder is created.
        config = render_config(self.root, self.web, self.vendor, self.host, self.port, self.rtmp, self._exposure)
        if self._runtime_dir is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="streamwave-media-")
        runtime = Path(self._temporary.name) if self._temporary else (self._runtime_dir or Path()).resolve()
        try:
            (runtime / "temp").mkdir(parents=True, exist_ok=True)
            runtime.chmod(0o700)
            (runtime / "nginx.pid").unlink(missing_ok=True)
            write_secret(runtime / "nginx.conf", config)
            (runtime / "error.log").unlink(missing_ok=True)
            log = (runtime / "error.log").open("ab")
        except OSError as error:
            self._remove_temporary()
            raise OutputError(
                f"cannot write to {runtime}: {error.strerror}; choose another runtime directory"
            ) from None
        with log:
            self._process = subprocess.Popen(
                # SIGTERM, because a master that is killed leaves its worker running, which keeps the port.
                guarded("TERM", keep=CAPABILITIES) + [binary, "-p", f"{runtime}/", "-c", "nginx.conf", "-e", "stderr"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A session of its own keeps Ctrl-C in a terminal from nginx; this process then stops it.
                start_new_session=True,
                env={**os.environ, "TZ": "UTC"},
            )
        self._log = ShortLog(runtime / "error.log")
        try:
            self._wait_until_ready(runtime)
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self, runtime: Path) -> None:
        deadline = time.monotonic() + self._start_timeout_s
        while True:
            assert self._process is not None
            ended = self._process.poll() is not None
            log = (runtime / "error.log").read_text(encoding="utf-8", errors="replace")
            # If the port is taken, nginx retries for seconds before it exits.
            fatal = [line for line in log.splitlines() if "[emerg]" in line]
            if fatal:
                raise explain(fatal[0])
            if ended:
                last = (log.strip().splitlines() or ["no message"])[-1]
                raise StreamWaveError(f"nginx exited at once: {last}")
            # nginx writes the file after binding its sockets. Without it, another server might be answering on the port.
            if (runtime / "nginx.pid").exists() and self._answers():
                return
            if time.monotonic() > deadline:
                raise StreamWaveError(f"nginx did not answer on {self.url} within {self._start_timeout_s:g} s")
            time.sleep(0.02)

    def _answers(self) -> bool:
        host = self.url.removeprefix("http://").rpartition(":")[0].strip("[]")
        connection = http.client.HTTPConnection(host, self.port, timeout=1)
        try:
            connection.request("GET", "/time")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def stop(self) -> None:
        """Stop nginx gracefully (SIGQUIT), then quickly (SIGTERM), then by SIGKILL; does nothing if it does not run."""
        process, self._process = self._process, None
        log, self._log = self._log, None
        try:
            if process is not None:
                for sign, patience_s in ((signal.SIGQUIT, 2.0), (signal.SIGTERM, 2.0)):
                    if process.poll() is None:
                        process.send_signal(sign)
                        with contextlib.suppress(subprocess.TimeoutExpired):
                            process.wait(patience_s)
                # Workers must not survive the master, however it ended; they are in its process group.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        finally:
            if log is not None:
                log.close()
            self._remove_temporary()

    def wait(self) -> int:
        """Block until nginx exits; its exit status."""
        assert self._process is not None
        return self._process.wait()

    def _remove_temporary(self) -> None:
        temporary, self._temporary = self._temporary, None
        if temporary is not None:
            temporary.cleanup()
