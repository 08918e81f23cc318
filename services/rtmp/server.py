"""nginx with nginx-rtmp: one process on loopback addresses, within limits of memory, that never outlives us."""

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

#: For segmenters; for the gate; and for the questions that nginx-rtmp asks through nginx. Addresses of their own, so that
#: one port serves for all three.
PLAY_HOST, PUBLISH_HOST, UPDATES_HOST = "127.0.0.1", "127.0.0.2", "127.0.0.3"

#: nginx-rtmp reads AMF recursively: a level takes four bytes of a message (an object in an object), and 224 of stack.
_STACK_BYTES = MAX_MESSAGE // 4 * 288
#: Address space. Measured: 20 MB at rest, 250 MB after AMF that is nested as deeply as a message allows.
_MEMORY_BYTES = 768 * 1024 * 1024
_START_S = 10.0
#: Lines of its log that are passed on in a minute, so that nobody fills a disk with them.
_LINES_PER_MINUTE = 60

_log = logging.getLogger("rtmp.nginx")


@dataclass(frozen=True)
class RtmpSettings:
    """The port on loopback addresses, and the hooks (``POST {hooks_url()}/start-stream`` and so on) that decide.

    ``hooks_url`` is asked at each start. ``play_from`` are the addresses (or networks) that may pull: the segmenter's.
    ``connections`` is how many may be open at once, pullers included. ``netcall_timeout_s`` is how long a hook may take;
    ``drop_idle_publisher_s`` how long a publisher may send nothing before it is disconnected.
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
    """nginx's configuration as text; SettingsError if a value can't be in it."""
    rules = [f"            allow play {quoted(address)};" for address in rtmp.play_from]
    return render(
        Path(__file__).with_name("nginx.conf.template"),
        {
            "module": quoted(rtmp.module),
            "user": user_directive(),
            # Each may ask a hook, and be asked about through nginx, at the same time.
            "connections": str(4 * rtmp.connections),
            "connections_limit": str(rtmp.connections),
            "publish_listen": listen_address(PUBLISH_HOST, rtmp.port),
            "play_listen": listen_address(PLAY_HOST, rtmp.port),
            "updates": f"{UPDATES_HOST}:{rtmp.port}",
            "max_message": str(MAX_MESSAGE),
            "max_streams": str(MAX_STREAMS),
            "application": quoted(rtmp.application),
            # nginx-rtmp takes the address as one word and resolves the host once, at start.
            "hooks": rtmp.hooks_url().rstrip("/"),
            "netcall_timeout": f"{rtmp.netcall_timeout_s}s",
            "drop_idle_publisher": f"{rtmp.drop_idle_publisher_s}s",
            "update_interval": f"{rtmp.update_interval_s}s",
            "play_rules": "\n".join([*rules, "            deny play all;"]),
        },
    )


class RtmpServer:
    """nginx-rtmp with its files in ``runtime_dir``; of one event loop, in the main thread, with whose end it ends."""

    def __init__(self, rtmp: RtmpSettings, runtime_dir: Path) -> None:
        self.rtmp, self._runtime = rtmp, runtime_dir.resolve()
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._last: deque[str] = deque(maxlen=20)

    async def start(self) -> None:
        """Start it and return when it answers.

        Raises:
            SettingsError: what the user can change (not installed, port taken).
            OutputError: the runtime directory can't be written.
            StreamWaveError: it does not come up.
        """
        binary = find_nginx()
        if not self.rtmp.module.is_file():
            raise SettingsError(f"nginx lacks its RTMP module {self.rtmp.module}: apt install libnginx-mod-rtmp")
        config = render_config(self.rtmp)
        try:
            (self._runtime / "temp").mkdir(parents=True, exist_ok=True)
            self._runtime.chmod(0o700)
            (self._runtime / "nginx.pid").unlink(missing_ok=True)
            write_secret(self._runtime / "nginx.conf", config)  # the address of the hooks holds their token
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
            start_new_session=True,  # Ctrl-C in a terminal goes to us alone, who then stop it in order
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
            # A port that is taken is fatal, but nginx goes on trying for seconds.
            fatal = [line for line in self._last if "[emerg]" in line]
            if fatal:
                raise explain(fatal[0])
            if process.returncode is not None:
                raise StreamWaveError(f"nginx ended at once: {self._last[-1] if self._last else 'no message'}")
            # The file appears when the sockets are bound: what answers after that is not somebody else's server.
            if (self._runtime / "nginx.pid").exists():
                with contextlib.suppress(OSError):
                    _reader, writer = await asyncio.open_connection(PLAY_HOST, self.rtmp.port)
                    writer.close()
                    return
            if time.monotonic() > deadline:
                raise StreamWaveError(f"nginx-rtmp did not answer on port {self.rtmp.port} within {_START_S:g} s")
            await asyncio.sleep(0.02)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """Pass its log on, a bounded number of lines in a minute."""
        assert process.stderr is not None
        until, lines = 0.0, 0
        while chunk := await process.stderr.read(65536):
            for line in chunk.decode("utf-8", "replace").splitlines():
                self._last.append(line)
                if time.monotonic() > until:
                    if lines > _LINES_PER_MINUTE:
                        _log.warning("%d lines left out", lines - _LINES_PER_MINUTE)
                    until, lines = time.monotonic() + 60, 0
                lines += 1
                if lines <= _LINES_PER_MINUTE:
                    _log.warning("%s", line[:500])

    @property
    def pid(self) -> int | None:
        """Its process id, or None while it does not run."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def wait(self) -> int:
        """Wait until it ends by itself; its exit status, or the negative number of the signal."""
        assert self._process is not None
        return await self._process.wait()

    async def stop(self) -> None:
        """End it, by force if it takes longer than two seconds. Harmless when it does not run."""
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
    """The command with limits of stack and memory, which the kernel ends when we end."""
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    stack = _STACK_BYTES if hard == resource.RLIM_INFINITY else min(_STACK_BYTES, hard)
    limits = [f"--stack={stack}", f"--as={_MEMORY_BYTES}", f"--core={0}"]
    return [*guarded("KILL", keep=CAPABILITIES), program("prlimit", "/usr/bin") or "prlimit", *limits, "--", *command]


def raise_open_files(most: int = 8192) -> None:
    """Let this process, and nginx after it, open as many files as its hard limit allows, up to ``most``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most if hard == resource.RLIM_INFINITY else min(most, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
