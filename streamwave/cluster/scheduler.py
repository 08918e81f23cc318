"""The process of a scheduler, which connects runs with workers. It keeps nothing: if it is restarted, runs submit again."""

from __future__ import annotations

import asyncio
import signal
import sys
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from streamwave.cluster.dask_config import prepare, security
from streamwave.cluster.endpoint import Endpoint, endpoint, is_loopback
from streamwave.config.settings import Settings
from streamwave.errors import SettingsError, StreamWaveError, tell
from streamwave.util.private import begin

NO_BOKEH = "Dask's dashboard needs Bokeh, which is not installed: pip install 'streamwave[dashboard]'"


def has_bokeh() -> bool:
    """Whether Dask's dashboard can be shown."""
    return find_spec("bokeh") is not None


async def schedule(at: Endpoint, dashboard_port: int = 0) -> None:
    """Listen at the address and port of ``at`` until SIGTERM or SIGINT. ``dashboard_port``: of Dask's dashboard; 0: none.

    Raises:
        OSError: the address cannot be listened at.
        SettingsError: the dashboard's port cannot be.
    """
    prepare(quiet=False)
    import dask
    from distributed import Scheduler

    shown = dashboard_port > 0 and has_bokeh()
    if shown:
        dask.config.set(_dashboard(dashboard_port))
    elif dashboard_port:
        print(f"warning: {NO_BOKEH}", flush=True)
    stop = asyncio.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(one, stop.set)
    with warnings.catch_warnings(action="ignore"):  # of a port in use, which is reported below
        scheduler: Any = Scheduler(
            host=f"[{at.host}]" if ":" in at.host else at.host,
            port=at.port,
            protocol=at.address.partition("://")[0],
            security=security(at),
            dashboard=shown,
            dashboard_address=f"127.0.0.1:{dashboard_port}",  # Dask insists on one
        )
    refuse_names(scheduler.http_application)
    if dashboard_port and scheduler.http_server.port != dashboard_port:
        raise SettingsError(
            f"port {dashboard_port} is in use: stop the program that has it, or set STREAMWAVE_DASK_DASHBOARD_PORT to another "
            "port"
        )
    try:
        await scheduler
    except RuntimeError as error:  # Dask's own, around the reason
        raise (error.__cause__ if isinstance(error.__cause__, OSError) else error) from None
    print(f"scheduler: listening at {at.address}", flush=True)
    if shown:
        print(f"scheduler: Dask's dashboard is at {dashboard_url(dashboard_port)}", flush=True)
    await stop.wait()
    await scheduler.close()


def dashboard_url(port: int) -> str:
    """Address of Dask's dashboard."""
    return f"http://127.0.0.1:{port}/status"


def _dashboard(port: int) -> dict[str, object]:
    """Dask's settings for its dashboard: its pages and their style sheets, but none that fetch something from workers."""
    return {
        "distributed.scheduler.http.routes": ["distributed.http.health", "distributed.http.statics"],
        "distributed.scheduler.dashboard.bokeh-application.allow_websocket_origin": [
            f"{host}:{port}" for host in ("127.0.0.1", "localhost")
        ],
    }


def refuse_names(application: Any) -> None:
    """Let a Tornado application answer requests for the loopback interface only.

    Otherwise a web page could read it under a name of its own that leads to 127.0.0.1 (DNS rebinding). Bokeh checks the origin
    of its WebSockets, but nothing of other requests.
    """
    from tornado.web import ErrorHandler

    find = application.find_handler

    def find_handler(request: Any, **options: Any) -> Any:
        try:
            host = urlsplit(f"//{request.host}").hostname or ""
        except ValueError:
            host = ""
        if is_loopback(host):
            return find(request, **options)
        return application.get_handler_delegate(request, ErrorHandler, {"status_code": 403})

    application.find_handler = find_handler


def serve(at: Endpoint, dashboard_port: int = 0) -> None:
    """``schedule`` in a loop of its own.

    Raises:
        SettingsError: an address or port cannot be listened at.
    """
    try:
        asyncio.run(schedule(at, dashboard_port))
    except OSError as error:
        raise SettingsError(
            f"cannot listen at {at.address} ({error.strerror or error}); choose another address"
        ) from None


def main(arguments: Sequence[str]) -> int:
    """Entry point; the argument is the address to listen at."""
    begin()
    try:
        settings = Settings.load()
        serve(endpoint(arguments[0], settings.cluster_keys, plain=settings.cluster_plain), settings.dask_dashboard_port)
    except StreamWaveError as error:
        return tell(error)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
