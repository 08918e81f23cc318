"""``streamwave scheduler``, ``worker`` and ``cluster keys``: encoding on several machines."""

from __future__ import annotations

import asyncio
import os
import sys
import time

import typer

from streamwave.cluster.endpoint import CERTIFICATE, KEY, Endpoint, endpoint
from streamwave.config.settings import Settings
from streamwave.errors import OutputError, SettingsError, StreamWaveError, UsageError
from streamwave.ffmpeg.process import kill, spawn
from streamwave.util.private import RUN_AS_USER, python_argv

cluster_app = typer.Typer(help="Prepare machines to encode together.", no_args_is_help=True)

#: Where a scheduler listens if nothing is said.
HERE = "dask://127.0.0.1:8786"
#: Delay before a worker that ended is started again. It doubles, up to the limit, while it keeps ending early.
RESTART_S, RESTART_LIMIT_S = 0.5, 10.0
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
    from streamwave.cluster.keys import create_keys

    folder = Settings.load().cluster_keys
    try:
        create_keys(folder)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written ({error.strerror}); check STREAMWAVE_CLUSTER_KEYS") from None
    for name in (CERTIFICATE, KEY):
        print(folder / name)


def run_scheduler(address: str | None) -> None:
    """Run a scheduler until Ctrl-C or SIGTERM.

    Raises:
        SettingsError: the address or the key cannot be used.
    """
    from streamwave.cluster.scheduler import schedule

    settings = Settings.load()
    at = _endpoint(settings.task_runner or HERE if address is None else address, settings)
    try:
        asyncio.run(schedule(at))
    except OSError as error:
        raise SettingsError(
            f"cannot listen at {at.address} ({error.strerror or error}); choose another address"
        ) from None


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
    delay_s = RESTART_S
    while True:
        began = time.monotonic()
        process = spawn(python_argv("streamwave.cluster.worker", address, str(port)))
        try:
            status = process.wait()
            if status == SettingsError.exit_code:
                raise StreamWaveError("the worker cannot start; its message is above")
            delay_s = RESTART_S if time.monotonic() - began > STEADY_S else min(delay_s * 2, RESTART_LIMIT_S)
            print(f"worker: ended with status {status}; restarting in {delay_s:g} s", file=sys.stderr)
            time.sleep(delay_s)
        except KeyboardInterrupt:
            # It finishes what it has begun; a second signal ends that too.
            process.terminate()
            try:
                process.wait()
            finally:
                kill(process)
            return
