"""``streamwave prefect``: log in to Prefect's UI, use its CLI with our server, deploy our flows to work pools."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import typer

from streamwave.config.prefect_env import CLIENT_ENV
from streamwave.config.settings import Settings
from streamwave.errors import StreamWaveError
from streamwave.ffmpeg.process import kill, spawn
from streamwave.state.prefect_auth import auth_string, client_environment

#: The work pool named in deployments/prefect.yaml.
WORK_POOL = "streamwave"
#: Loading Prefect takes seconds on a slow machine.
COMMAND_LIMIT_S = 120

prefect_app = typer.Typer(
    help="Log in to Prefect's UI, use Prefect's own CLI with our server, deploy the flows.", no_args_is_help=True
)


def ui_line(settings: Settings) -> str:
    """The address of Prefect's UI and how to log in. Goes to logs, so it does not contain the secret."""
    address = settings.prefect_url.removesuffix("/api")
    return address if settings.prefect_api_url else f"{address} (streamwave prefect login prints the login)"


@prefect_app.command()
def login() -> None:
    """Print the address of Prefect's UI and the login that it asks for.

    Output: stdout gets the address, then USER:PASSWORD.

    Example: [bold]streamwave prefect login[/bold]
    """
    settings = Settings.load()
    print(settings.prefect_url.removesuffix("/api"))
    print(auth_string(settings) or "no login is known for this server")


@prefect_app.command()
def env() -> None:
    """Print the environment variables that Prefect's CLI and workers need, as shell commands.

    Output: stdout gets export commands.

    Example: [bold]eval "$(streamwave prefect env)"[/bold]
    """
    for name, value in client_environment(Settings.load()).items():
        print(f"export {name}={shlex.quote(value)}")


@prefect_app.command()
def deploy() -> None:
    """Deploy the flows vod and live-stream, for [bold]prefect deployment run[/bold] and the workers of a work pool.

    Workers run them in the current folder: its .env applies, and relative paths start there. The work pool
    "streamwave" is created if it does not exist; start a worker with: prefect worker start --pool streamwave

    Output: the deployments go to Prefect's server; stdout gets the output of Prefect's commands.

    Example: [bold]streamwave prefect deploy[/bold]
    """
    settings = Settings.load()
    environment = {**os.environ, **CLIENT_ENV, **client_environment(settings)}
    if _prefect("work-pool", "inspect", WORK_POOL, environment=environment, silent=True) != 0:
        _prefect("work-pool", "create", "--type", "process", WORK_POOL, environment=environment)
    if _prefect("--no-prompt", "deploy", "--prefect-file", str(_deployments()), "--all", environment=environment) != 0:
        raise StreamWaveError(f"Prefect could not deploy the flows; is its server running at {settings.prefect_url}?")


def _deployments() -> Path:
    """The file with the deployments: next to the flows in an installation, under deployments/ in a checkout."""
    import flows

    folder = Path(flows.__file__).resolve().parent
    installed = folder / "prefect.yaml"
    return installed if installed.is_file() else folder.parent / "deployments" / "prefect.yaml"


def _prefect(*arguments: str, environment: dict[str, str], silent: bool = False) -> int:
    """Run a Prefect command and return its exit status."""
    output = subprocess.DEVNULL if silent else None
    process = spawn([sys.executable, "-m", "prefect", *arguments], env=environment, stdout=output, stderr=output)
    try:
        return process.wait(COMMAND_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise StreamWaveError(f"prefect {arguments[0]} did not end within {COMMAND_LIMIT_S} s") from None
    finally:
        kill(process)
