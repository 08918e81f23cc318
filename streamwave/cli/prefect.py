"""``streamwave prefect``: how to get into Prefect's UI, and how Prefect's own commands get into its API."""

from __future__ import annotations

import shlex

import typer

from streamwave.config.settings import Settings
from streamwave.state.prefect_auth import auth_string, client_environment

prefect_app = typer.Typer(
    help="Log in to Prefect's UI; let Prefect's own commands use our server.", no_args_is_help=True
)


def ui_line(settings: Settings) -> str:
    """Where Prefect's UI is, and how to get in: this goes to logs, so the secret is not in it."""
    address = settings.prefect_url.removesuffix("/api")
    return address if settings.prefect_api_url else f"{address} (streamwave prefect login prints what it asks for)"


@prefect_app.command()
def login() -> None:
    """Print the address of Prefect's UI and what it asks for at its login page."""
    settings = Settings.load()
    print(settings.prefect_url.removesuffix("/api"))
    print(auth_string(settings) or "this server asks for nothing that StreamWave knows of")


@prefect_app.command()
def env() -> None:
    """Print what Prefect's commands and workers need in their environment, for a shell.

    Example: [bold]eval "$(streamwave prefect env)"[/bold]
    """
    for name, value in client_environment(Settings.load()).items():
        print(f"export {name}={shlex.quote(value)}")
