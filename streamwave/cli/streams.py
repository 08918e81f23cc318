"""``streamwave streams``: who may publish. Works on the database itself, whether the services run or not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from streamwave.config.settings import Settings
from streamwave.streams.database import Database
from streamwave.streams.hooks import reachable
from streamwave.streams.publishes import Publishes
from streamwave.streams.registry import Registry

streams_app = typer.Typer(name="streams", help="Streams and their keys: who may publish.", no_args_is_help=True)
out = Console(highlight=False, soft_wrap=True)

Name = Annotated[str, typer.Argument(help="Public name of the stream: a-z, 0-9, - and _.")]


@contextmanager
def _database(settings: Settings) -> Iterator[Database]:
    database = Database.open(settings)
    try:
        yield database
    finally:
        database.close()


def print_key(console: Console, settings: Settings, name: str, key: str) -> None:
    """What to enter in OBS and where to watch. The only time that the key is seen."""
    for line in obs_lines(settings, name, key):
        console.print(line, markup=False)


def obs_lines(settings: Settings, name: str, key: str) -> list[str]:
    """The same as lines of text."""
    return [
        "In OBS, Settings > Stream, Service: Custom",
        f"  Server      rtmp://{reachable(settings.rtmp_host)}:{settings.rtmp_port}/live",
        f"  Stream Key  {key}",
        f"Watch at {settings.public_url.rstrip('/')}/?stream={name}",
        "The key is not stored and will not be shown again. From another machine, use this machine's address.",
    ]


@streams_app.command()
def add(
    name: Name,
    title: Annotated[str, typer.Option(help="Shown to viewers.")] = "",
) -> None:
    """Add a stream, and print what to enter in OBS: its key is shown only now."""
    settings = Settings.load()
    with _database(settings) as database:
        stream, key = Registry(database).add(name, title)
    print_key(out, settings, stream.name, key)


@streams_app.command("ls")
def list_streams() -> None:
    """List the streams."""
    with _database(Settings.load()) as database:
        streams = Registry(database).all()
        publishing = {publish.stream: publish for publish in Publishes(database).open() if publish.accepted}
    if not streams:
        out.print("no streams yet; add one with: streamwave streams add NAME")
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("name", "title", "publishing", "broadcast", "created (UTC)"):
        table.add_column(heading, overflow="fold")
    for stream in streams:
        publish = publishing.get(stream.name)
        state = "disabled" if not stream.enabled else "yes" if publish else "no"
        created = time.strftime("%Y-%m-%d %H:%M", time.gmtime(stream.created_unix_ms // 1000))
        table.add_row(
            stream.name, stream.title.replace("[", r"\["), state, publish.broadcast if publish else "", created
        )
    out.print(table)


@streams_app.command("rotate-key")
def rotate_key(name: Name) -> None:
    """Give a stream a new key. Whoever publishes with the old one is disconnected within seconds."""
    settings = Settings.load()
    with _database(settings) as database:
        key = Registry(database).rotate_key(name)
    print_key(out, settings, name, key)


@streams_app.command("rm")
def remove(name: Name) -> None:
    """Remove a stream and its key. Whoever publishes is disconnected within seconds; recordings stay."""
    with _database(Settings.load()) as database:
        Registry(database).remove(name)
    out.print(f"removed {name}")


@streams_app.command()
def disable(name: Name) -> None:
    """Refuse publishers until it is enabled again; the one who publishes is disconnected within seconds."""
    with _database(Settings.load()) as database:
        Registry(database).change(name, enabled=False)
    out.print(f"disabled {name}")


@streams_app.command()
def enable(name: Name) -> None:
    """Let publishers in again."""
    with _database(Settings.load()) as database:
        Registry(database).change(name, enabled=True)
    out.print(f"enabled {name}")
