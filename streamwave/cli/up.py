"""``streamwave up``: every service on this machine."""

from __future__ import annotations

import os
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.error import URLError
from urllib.parse import urlsplit

from rich.console import Console
from rich.text import Text

from streamwave.cli.cluster import check_scheduler, cluster_parts, prepare_scheduler, scheduler_lines
from streamwave.cli.parts import Part, Supervisor, inherited
from streamwave.cli.prefect import ui_line
from streamwave.cluster.endpoint import PORT
from streamwave.config.prefect_env import CLIENT_ENV, READY_FILE
from streamwave.config.settings import Settings
from streamwave.errors import SettingsError, StreamWaveError
from streamwave.spool.broadcast import broadcasts
from streamwave.spool.journal import writer_alive
from streamwave.spool.remote.objects import check_spool
from streamwave.spool.stop import request_stop, stop_and_wait
from streamwave.state.folders import close_state
from streamwave.state.prefect_auth import auth_string, client_environment
from streamwave.storage.outputs import check_outputs
from streamwave.util.private import RUN_AS_USER, make_folder, python_argv
from streamwave.util.trust import check_working_folder

READY_LIMIT_S = 180
FIRST_STREAM = "live"


def answers(url: str) -> Callable[[], bool]:
    """A check that ``url`` answers with status 200."""

    def check() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=1) as response:
                return bool(response.status == 200)
        except (URLError, OSError, ValueError):
            return False

    return check


def listens(host: str, port: int) -> Callable[[], bool]:
    """A check that something listens on a port."""

    def check() -> bool:
        try:
            with socket.create_connection((_reachable(host), port), timeout=1):
                return True
        except OSError:
            return False

    return check


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "::", "") else host


def processing_ready(settings: Settings) -> Callable[[], bool]:
    """A check that the processing service answers and can start a flow run at once."""
    listening = listens(settings.grpc_host, settings.grpc_port)
    return lambda: listening() and (settings.state_dir / READY_FILE).exists()


def make_parts(settings: Settings) -> list[Part]:
    """Every part of a single-machine installation, in starting order."""
    parts = []
    api_url, port = settings.prefect_url, settings.prefect_port
    if settings.prefect_api_url is None:
        from flows.server import server_argv, server_environment

        parts.append(
            Part(
                "prefect",
                server_argv("127.0.0.1", port),
                answers(f"{api_url}/health"),
                server_environment(
                    settings.prefect_home,
                    auth_string(settings) or "",
                    host="127.0.0.1",
                    port=port,
                    ui=True,
                    allowed_hosts=settings.allowed_hosts,
                ),
            )
        )
    parts += cluster_parts(settings)  # before those that use them, so that these are stopped first
    environment = inherited(**CLIENT_ENV, **client_environment(settings), PREFECT_HOME=str(settings.prefect_home))
    ingest = f"http://{_reachable(settings.ingest_host)}:{settings.ingest_port}"
    parts += [
        Part("processing", python_argv("services.processing"), processing_ready(settings),
             environment, grace_s=20.0),
        Part("ingest", python_argv("services.ingest"), answers(f"{ingest}/healthz"), environment),
        Part("rtmp", python_argv("services.rtmp"), listens(settings.rtmp_host, settings.rtmp_port), environment),
        Part("media", python_argv("services.media", "--live"),
             answers(f"http://{_reachable(settings.media_host)}:{settings.media_port}/time"), environment),
    ]  # fmt: skip
    return parts


@contextmanager
def everything(settings: Settings, show: Callable[[str, str], None]) -> Iterator[Supervisor]:
    """Run all parts. On exit all of them have ended, and all segmenters too. ``show`` gets (part name, line of log).

    Raises:
        StreamWaveError: a part did not become ready.
    """
    check_working_folder()
    _check_ports(settings)
    for fault in check_outputs(settings.output_url, settings.s3_options):
        show("output", f"{fault}; the other outputs are still written")
    check_spool(settings.spool_url, settings.spool_options)
    # Prefect's database has the parameters of flow runs, and so the addresses of their sources.
    close_state(settings, make=True)
    make_folder(settings.prefect_home)
    prepare_scheduler(settings)
    supervisor = Supervisor(make_parts(settings), settings.state_dir / "logs", show)
    try:
        end = time.monotonic() + READY_LIMIT_S
        while waiting := supervisor.waiting_for():
            if time.monotonic() > end:
                folder = settings.state_dir / "logs"
                raise StreamWaveError(f"{', '.join(waiting)} did not become ready; see the logs in {folder}")
            supervisor.tick()
            time.sleep(0.1)
        yield supervisor
    finally:
        # First refuse publishers, then let the segmenters finish what they have received, then stop the rest.
        supervisor.stop("rtmp")
        supervisor.stop("ingest")
        end_segmenters(settings)
        supervisor.stop_all()


def end_segmenters(settings: Settings) -> None:
    """Stop all segmenters; what they have received stays in the spool for the next start."""
    spools = [session for b in broadcasts(settings.spool_dir) for session in b.sessions() if writer_alive(session)]
    for spool in spools:
        request_stop(spool)
    for spool in spools:
        stop_and_wait(spool)


def _check_ports(settings: Settings) -> None:
    wanted = {
        "STREAMWAVE_RTMP_PORT": settings.rtmp_port,
        "STREAMWAVE_RTMP_INTERNAL_PORT": settings.rtmp_internal_port,
        "STREAMWAVE_INGEST_PORT": settings.ingest_port,
        "STREAMWAVE_GRPC_PORT": settings.grpc_port,
        "STREAMWAVE_MEDIA_PORT": settings.media_port,
    }
    if settings.prefect_api_url is None:
        wanted["STREAMWAVE_PREFECT_PORT"] = settings.prefect_port
    if settings.scheduler:
        wanted["STREAMWAVE_SCHEDULER"] = urlsplit(settings.scheduler).port or PORT
        if settings.dask_dashboard_port:
            wanted["STREAMWAVE_DASK_DASHBOARD_PORT"] = settings.dask_dashboard_port
    for name, port in wanted.items():
        if listens("127.0.0.1", port)():
            raise SettingsError(
                f"port {port} is in use: stop the program that has it (another streamwave up?), or set {name} to another port"
            )


def first_stream(settings: Settings, console: Console) -> None:
    """At the first start, create a stream and print what to enter in OBS. The key is shown only this once."""
    from streamwave.streams.database import Database
    from streamwave.streams.registry import Registry

    database = Database.open(settings)
    try:
        registry = Registry(database)
        if registry.all():
            return
        _, key = registry.add(FIRST_STREAM)
    finally:
        database.close()
    console.print("\n[bold]Your first stream[/bold] (OBS: Settings, Stream, Service: Custom)")
    console.print(f"  Server      rtmp://{_own_address()}:{settings.rtmp_port}/live")
    console.print(f"  Stream key  [bold]{key}[/bold]")
    console.print("  The key is shown only this once; streamwave streams rotate-key creates a new one.")


def _own_address() -> str:
    # Connecting a datagram socket sends no packet; it only selects the local address.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def run_up(console: Console, scheduler: str | None = None) -> None:
    """Run every service until Ctrl-C. ``scheduler``: the address at which to run a scheduler, with a worker."""
    if scheduler is not None:
        check_scheduler(scheduler, Settings.load())
        os.environ["STREAMWAVE_SCHEDULER"] = scheduler  # for the runs, which read the settings themselves
    settings = Settings.load()
    if os.geteuid() == 0:
        console.print(f"[yellow]warning:[/yellow] {RUN_AS_USER}", soft_wrap=True)
    os.environ.update({name: value for name, value in CLIENT_ENV.items() if name not in os.environ})

    def show(name: str, line: str) -> None:
        console.print(Text(f"{name:>10}  ", style="dim").append(line, style="default"), soft_wrap=True)

    started = time.monotonic()
    with everything(settings, show) as supervisor:
        console.print(f"[green]ready[/green] after {time.monotonic() - started:.1f} s")
        first_stream(settings, console)
        console.print(f"  Watch       [bold]{settings.public_url}/[/bold]")
        console.print(f"  Prefect     {ui_line(settings)}", soft_wrap=True)
        for what, text in scheduler_lines(settings):
            console.print(Text(f"  {what:<12}{text}"), soft_wrap=True)
        console.print("press Ctrl-C to stop\n")
        while True:
            supervisor.tick()
            time.sleep(0.2)
