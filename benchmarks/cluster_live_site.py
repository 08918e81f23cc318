"""A whole installation at the first host of a site: a Prefect server, ``streamwave up``, and publishers beside it."""

from __future__ import annotations

import ctypes
import os
import signal
import statistics
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cluster_site import Site, site
from flows.server import free_port, server_argv, server_environment, wait_healthy
from streamwave.ffmpeg.process import spawn
from streamwave.layout import segment_name
from streamwave.manifest.lines import ChunkLine, PeriodLine, read_lines
from streamwave.spool.broadcast import BroadcastSpool
from streamwave.storage.store import open_store
from tests.support.hosts import Host
from tests.support.live import Installation, installation
from tests.support.prefect_api import AUTH


class Server:
    """A Prefect server that can be away. Its database is in ``home``."""

    def __init__(self, home: Path) -> None:
        self._home, self._port = home, free_port()
        self.url = f"http://127.0.0.1:{self._port}/api"
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._home.mkdir(exist_ok=True)
        environment = server_environment(self._home, AUTH, host="127.0.0.1", port=self._port, ui=False)
        log_path = self._home / "server.log"
        with log_path.open("ab") as log:
            argv = server_argv("127.0.0.1", self._port)
            self.process = spawn(argv, stdout=log, stderr=log, env=environment, cwd=self._home)
        wait_healthy(self.url, self.process, log_path)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait(20)


@dataclass(frozen=True)
class Published:
    """A published chunk: ``arrived`` with its last frame, ``lag`` later all of its segments were stored.

    ``arrived`` is in seconds since the first frame of the broadcast, ``stored`` in seconds since 1970.
    """

    number: int
    arrived: float
    stored: float
    lag: float


@dataclass
class LiveSite:
    """``running`` is at the first host of ``place``, as this process is."""

    place: Site
    running: Installation
    server: Server

    def chunks(self, spool: BroadcastSpool) -> list[Published]:
        """The chunks of a broadcast with one session that are in its ledger, in order."""
        root = self.running.root(spool)
        found, wall_s, period = [], 0.0, ""
        scales: dict[str, int] = {}
        for _, _, line in read_lines(open_store(str(root))):
            if isinstance(line, PeriodLine):
                assert line.wall_unix_ms is not None
                wall_s, period = line.wall_unix_ms / 1000, line.name
                scales = {one.rendition.name: one.timescale for one in line.tracks if one.rendition.kind == "video"}
            elif isinstance(line, ChunkLine):
                ends = {(segments[-1][0] + segments[-1][1]) / scales[name]
                        for name, segments in line.segments.items() if name in scales}  # fmt: skip
                paths = [root / segment_name(period, name, one[0]) for name, of in line.segments.items() for one in of]
                stored = max(path.stat().st_mtime for path in paths)
                arrived = max(ends)
                found.append(Published(line.number, arrived, stored, stored - wall_s - arrived))
        return found


def slope(chunks: Sequence[Published]) -> float:
    """By how many seconds the lag grows in a minute, by least squares."""
    line = statistics.linear_regression([one.arrived for one in chunks], [one.lag for one in chunks])
    return 60 * line.slope


@contextmanager
def inside(host: Host) -> Iterator[None]:
    """Let this thread be on ``host``, and all processes and threads that it starts; needs root."""
    libc = ctypes.CDLL(None, use_errno=True)

    def enter(namespace: int) -> None:
        if libc.setns(namespace, 0):
            raise OSError(ctypes.get_errno(), "the network namespace cannot be entered")

    with Path("/proc/thread-self/ns/net").open() as before, Path(f"/proc/{host.pid}/ns/net").open() as there:
        enter(there.fileno())
        try:
            yield
        finally:
            enter(before.fileno())


@contextmanager
def live_site(root: Path, count: int, cores: float, **settings: str) -> Iterator[LiveSite]:
    """An installation whose chunks are encoded by workers, of which none is started, at ``count`` hosts with ``cores``."""
    with ExitStack() as stack:
        place = stack.enter_context(site(root / "site", count, cores, tls=True, **settings))
        stack.enter_context(inside(place.hosts[0]))
        server = Server(root / "prefect")
        stack.callback(server.kill)
        (root / "live").mkdir()
        ours = {**place.machines.extra, **settings}
        running = stack.enter_context(
            installation(root / "live", root, None, **ours, PREFECT_API_URL=server.url,
                         STREAMWAVE_TASK_RUNNER=place.machines.address)
        )  # fmt: skip
        yield LiveSite(place, running, server)
