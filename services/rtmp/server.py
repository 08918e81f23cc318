"""Runs nginx-rtmp: one process with limited memory that listens on loopback addresses and never outlives this process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from services.nginx import CAPABILITIES, explain, find_nginx, listen_address, quoted, render, user_directive
from services.rtmp.rules import MAX_MESSAGE, MAX_STREAMS
from streamwave.errors import OutputError, SettingsError, StreamWaveError
from streamwave.state.secret import write_secret
from streamwave.util.confine import guarded
from streamwave.util.trust import program

#: Addresses for segmenters, for the gate, and for update hooks, which pass through an HTTP proxy in nginx. They differ, so
#: that all three can use the same port.
PLAY_HOST, PUBLISH_HOST, UPDATES_HOST = "127.0.0.1", "127.0.0.2", "127.0.0.3"

#: nginx-rtmp parses AMF recursively: a nested object takes at least four bytes of a message and 224 bytes of stack.
_STACK_BYTES = MAX_MESSAGE // 4 * 288
#: Limit on address space. Measured: 20 MB when idle, 250 MB after AMF that is nested as deeply as a message allows.
_MEMORY_BYTES = 768 * 1024 * 1024
_START_S = 10.0
#: Lines of nginx's log that are forwarded per minute, so that strangers cannot fill the disk.
_LINES_PER_MINUTE = 60

_log = logging.getLogger("rtmp.nginx")


@dataclass(frozen=True)
class RtmpSettings:
    """The port on loopback addresses, and the URL of the hooks (``POST {hooks_url()}/start-stream`` and so on).

    ``hooks_url`` is called at each start. ``play_from``: addresses or networks of segmenters, which may pull.
    ``connections``: concurrent connections, including pulls. ``netcall_timeout_s``: time limit of a hook.
    ``drop_idle_publisher_s``: a publisher that sends nothing for this long is disconnected.
    """

    port: int
    hooks_url: Callable[[], str]
    connections: int = 1024
    application: str = "live"
    play_from: tuple[str, ...] = ("127.0.0.1",)
    netcall_timeout_s: int = 10
    drop_idle_publisher_s: int = 10
    update_interval_s: int = 5
    module: Path = Path("/usr/lib/nginx/modules/ngx_rtmp_module.so")


def render_config(rtmp: RtmpSettings) -> str:
    """nginx's configuration.

    Raises:
        SettingsError: nginx cannot be given one of the values.
    """
    rules = [f"            allow play {quoted(address)};" for address in rtmp.play_from]
    return render(
        Path(__file__).with_name("nginx.conf.template"),
        {
            "module": quoted(rtmp.module),
            "user": user_directive(),
            # Besides the connection itself: a hook call, and an update hook on both sides of the HTTP proxy.
            "connections": str(4 * rtmp.connections),
            "connections_limit": str(rtmp.connections),
            "publish_listen": listen_address(PUBLISH_HOST, rtmp.port),
            "play_listen": listen_address(PLAY_HOST, rtmp.port),
            "updates": f"{UPDATES_HOST}:{rtmp.port}",
            "max_message": str(MAX_MESSAGE),
            "max_streams": str(MAX_STREAMS),
            "application": quoted(rtmp.application),
            # Not quoted: nginx-rtmp takes the URL as one word. It resolves the host once, at start.
            "hooks": rtmp.hooks_url().rstrip("/"),
            "netcall_timeout": f"{rtmp.netcall_timeout_s}s",
            "drop_idle_publisher": f"{rtmp.drop_idle_publisher_s}s",
            "update_interval": f"{rtmp.update_interval_s}s",
            "play_rules": "\n".join([*rules, "            deny play all;"]),
        },
    )


class RtmpServer:
    """nginx-rtmp, with its files in ``runtime_dir``. Use from one event loop in the main thread."""

    def __init__(self, rtmp: RtmpSettings, runtime_dir: Path) -> None:
        self.rtmp, self._runtime = rtmp, runtime_dir.resolve()
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._last: deque[str] = deque(maxlen=20)

    async def start(self) -> None:
        """Start nginx-rtmp, and return once it answers.

        Raises:
            SettingsError: nginx or its RTMP module is not installed, or the port is taken.
            OutputError: the runtime directory cannot be written.
            StreamWaveError: nginx does not start.
        """
        binary = find_nginx()
        if not self.rtmp.module.is_file():
            raise SettingsError(f"nginx lacks its RTMP module {self.rtmp.module}: apt install libnginx-mod-rtmp")
        config = render_config(self.rtmp)
        try:
            (self._runtime / "temp").mkdir(parents=True, exist_ok=True)
            self._runtime.chmod(0o700)
            (self._runtime / "nginx.pid").unlink(missing_ok=True)
            write_secret(self._runtime / "nginx.conf", config)  # secret, because the URL of the hooks contains a token
        except OSError as error:
            raise OutputError(
                f"cannot write to {self._runtime}: {error.strerror}; check STREAMWAVE_STATE_DIR"
            ) from None
        self._last.clear()
        self._process = await asyncio.create_subprocess_exec(
            *_limited([binary, "-p", f"{self._runtime}/", "-c", "nginx.conf", "-e", "stderr"]),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # keeps Ctrl-C in a terminal from nginx; this process then stops it
        )
        self._reading = asyncio.create_task(self._read(self._process))
        try:
            await self._until_ready(self._process)
        except BaseException:
            await self.stop()
            raise

    async def _until_ready(self, process: asyncio.subprocess.Process) -> None:
        deadline = time.monotonic() + _START_S
        while True:
            # If the port is taken, nginx retries for seconds before it exits.
            fatal = [line for line in self._last if "[emerg]" in line]
            if fatal:
                raise explain(fatal[0])
            if process.returncode is not None:
                raise StreamWaveError(f"nginx exited at once: {self._last[-1] if self._last else 'no message'}")
            # nginx writes the file after binding its sockets. Without it, another server might be answering on the port.
            if (self._runtime / "nginx.pid").exists():
                with contextlib.suppress(OSError):
                    _reader, writer = await asyncio.open_connection(PLAY_HOST, self.rtmp.port)
                    writer.close()
                    return
            if time.monotonic() > deadline:
                raise StreamWaveError(f"nginx-rtmp did not answer on port {self.rtmp.port} within {_START_S:g} s")
            await asyncio.sleep(0.02)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """Forward nginx's log, at most ``_LINES_PER_MINUTE`` lines per minute."""
        assert process.stderr is not None
        until, lines = 0.0, 0
        while chunk := await process.stderr.read(65536):
            for line in chunk.decode("utf-8", "replace").splitlines():
                self._last.append(line)
                if time.monotonic() > until:
                    if lines > _LINES_PER_MINUTE:
                        _log.warning("left out %d lines of the last minute", lines - _LINES_PER_MINUTE)
                    until, lines = time.monotonic() + 60, 0
                lines += 1
                if lines <= _LINES_PER_MINUTE:
                    _log.warning("%s", line[:500])

    @property
    def pid(self) -> int | None:
        """Process id of nginx; None while it does not run."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def wait(self) -> int:
        """Wait until nginx exits; its exit status, or the negative number of the signal that ended it."""
        assert self._process is not None
        return await self._process.wait()

    async def stop(self) -> None:
        """Stop nginx, with SIGKILL after two seconds; does nothing if it does not run."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(2):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        if self._reading is not None:
            await self._reading
            self._reading = None


def _limited(command: list[str]) -> list[str]:
    """``command`` with limits on stack and memory; the kernel ends it when this process ends."""
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    stack = _STACK_BYTES if hard == resource.RLIM_INFINITY else min(_STACK_BYTES, hard)
    limits = [f"--stack={stack}", f"--as={_MEMORY_BYTES}", f"--core={0}"]
    return [*guarded("KILL", keep=CAPABILITIES), program("prlimit", "/usr/bin") or "prlimit", *limits, "--", *command]


def raise_open_files(most: int = 8192) -> None:
    """Raise the limit on open files of this process and its children to the hard limit, but at most to ``most``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most if hard == resource.RLIM_INFINITY else min(most, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
