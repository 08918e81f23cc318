"""``streamwave scheduler``, ``worker`` and ``cluster keys``: encoding on several machines."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import typer

from streamwave.cli.parts import Part
from streamwave.cluster.endpoint import CERTIFICATE, KEY, Endpoint, endpoint, is_loopback, parse
from streamwave.config.fields import connectable
from streamwave.config.settings import Settings
from streamwave.errors import OutputError, SettingsError, StreamWaveError, UsageError
from streamwave.ffmpeg.process import kill, spawn
from streamwave.util.private import RUN_AS_USER, python_argv

cluster_app = typer.Typer(help="Prepare machines to encode together.", no_args_is_help=True)

#: Where a scheduler listens if nothing is said.
HERE = "dask://127.0.0.1:8786"
#: A worker that ended is started again at once; if it keeps ending early, after this delay, which doubles up to a limit.
RESTART_S, RESTART_LIMIT_S = 0.5, 10.0
#: The limit if a signal killed it: a chunk that kills workers is given up after eleven deaths, and its stream waits for them.
KILLED_LIMIT_S = 2.0
#: A worker that ran for this long ended for a new reason.
STEADY_S = 10.0


def _endpoint(address: str, settings: Settings) -> Endpoint:
    return endpoint(address, settings.cluster_keys, plain=settings.cluster_plain)


@cluster_app.command()
def keys() -> None:
    """Create the key with which runs, scheduler and workers recognize each other, and encrypt what they exchange.

    Copy both files to the folder STREAMWAVE_CLUSTER_KEYS of every machine. Whoever has them can run programs on all of them.

    Output: cluster.pem and cluster.key in STREAMWAVE_CLUSTER_KEYS; stdout gets their paths.

    Example: [bold]streamwave cluster keys[/bold]
    """
    folder = Settings.load().cluster_keys
    _create(folder)
    for name in (CERTIFICATE, KEY):
        print(folder / name)


def _create(folder: Path) -> None:
    from streamwave.cluster.keys import create_keys

    try:
        create_keys(folder)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written ({error.strerror}); check STREAMWAVE_CLUSTER_KEYS") from None


def run_scheduler(address: str | None) -> None:
    """Run a scheduler until Ctrl-C or SIGTERM.

    Raises:
        SettingsError: the address or the key cannot be used.
    """
    from streamwave.cluster.scheduler import serve

    settings = Settings.load()
    chosen = address if address is not None else settings.scheduler or settings.task_runner or HERE
    serve(_endpoint(chosen, settings), settings.dask_dashboard_port)


def cluster_parts(settings: Settings) -> list[Part]:
    """The scheduler of ``streamwave up`` and its worker; none if it was not asked for."""
    if not settings.scheduler:
        return []
    from streamwave.cluster.worker import READY

    def connected() -> bool:
        return any((settings.state_dir / "worker").glob(f"*/{READY}"))

    # A probe of the scheduler's port would be a failed handshake in its log.
    return [
        Part("scheduler", python_argv("streamwave.cluster.scheduler", settings.scheduler), connected,
             restart_limit_s=KILLED_LIMIT_S),
        Part("worker", python_argv("streamwave.cluster.worker", connectable(settings.scheduler), "0"), connected,
             restart_limit_s=KILLED_LIMIT_S),
    ]  # fmt: skip


def check_scheduler(address: str, settings: Settings) -> None:
    """Check the address of the scheduler of ``streamwave up``.

    Raises:
        SettingsError: the address or the key cannot be used.
    """
    if not _lacks_key(address, settings):
        _endpoint(address, settings)


def prepare_scheduler(settings: Settings) -> None:
    """Create the key of the scheduler of ``streamwave up`` if there is none.

    Without a key, every user of this machine could run programs as this one.

    Raises:
        SettingsError: the address or the key cannot be used.
        OutputError: the key cannot be written.
    """
    if settings.scheduler:
        if _lacks_key(settings.scheduler, settings):
            _create(settings.cluster_keys)
        _endpoint(settings.scheduler, settings)


def _lacks_key(address: str, settings: Settings) -> bool:
    return parse(address)[0] == "dask" and not (settings.cluster_keys / KEY).exists()


def scheduler_lines(settings: Settings) -> Iterator[tuple[str, str]]:
    """What ``streamwave up`` prints of its scheduler: names and texts."""
    if not settings.scheduler:
        return
    at = _endpoint(connectable(settings.scheduler), settings)
    here = connectable(settings.scheduler) == settings.scheduler and is_loopback(at.host)
    others = f"this machine only; STREAMWAVE_SCHEDULER=dask://0.0.0.0:{at.port} admits others" if here else (
        f"on other machines, with {settings.cluster_keys}: streamwave worker dask://HOST:{at.port}"
    )  # fmt: skip
    yield "Workers", f"{at.address} ({others})"
    if settings.dask_dashboard_port:
        from streamwave.cluster.scheduler import NO_BOKEH, dashboard_url, has_bokeh

        yield "Dask", dashboard_url(settings.dask_dashboard_port) if has_bokeh() else NO_BOKEH


def next_delay(delay_s: float, status: int) -> float:
    """The delay after ``delay_s`` for a worker that keeps ending early, now with ``status`` (negative: killed by a signal)."""
    return min(max(RESTART_S, delay_s * 2), KILLED_LIMIT_S if status < 0 else RESTART_LIMIT_S)


def run_worker(address: str | None, port: int = 0) -> None:
    """Run a worker until Ctrl-C or SIGTERM, and restart it whenever it ends.

    Raises:
        UsageError: no scheduler was named.
        SettingsError: the address, the key or a setting cannot be used.
    """
    settings = Settings.load()
    if address is None:
        address = settings.task_runner or None
    if address is None:
        raise UsageError("name the scheduler: streamwave worker dask://HOST:8786, or set STREAMWAVE_TASK_RUNNER")
    _endpoint(address, settings)
    if os.geteuid() == 0:
        print(f"warning: {RUN_AS_USER}", file=sys.stderr)
    delay_s = 0.0
    while True:
        began = time.monotonic()
        process = spawn(python_argv("streamwave.cluster.worker", address, str(port)))
        try:
            status = process.wait()
            if status == SettingsError.exit_code:
                raise StreamWaveError("the worker cannot start; its message is above")
            if time.monotonic() - began > STEADY_S:
                delay_s = 0.0
            print(f"worker: ended with status {status}; restarting in {delay_s:g} s", file=sys.stderr)
            time.sleep(delay_s)
            delay_s = next_delay(delay_s, status)
        except KeyboardInterrupt:
            # It finishes what it has begun; a second signal ends that too.
            process.terminate()
            try:
                process.wait()
            finally:
                kill(process)
            return
