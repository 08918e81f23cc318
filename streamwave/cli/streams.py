"""``streamwave streams``: who may publish. Uses the database directly, so the services need not be running."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from streamwave.cli.complete import stream_names
from streamwave.cli.output import Json, emit, print_table
from streamwave.cli.shapes import KeyDocument, StreamsDocument, StreamShape
from streamwave.config.settings import Settings
from streamwave.streams.hooks import reachable

if TYPE_CHECKING:
    from streamwave.streams.publishes import Publishes
    from streamwave.streams.registry import Registry

streams_app = typer.Typer(name="streams", help="Streams and their keys: who may publish.", no_args_is_help=True)
out = Console(highlight=False, soft_wrap=True)

NewName = Annotated[str, typer.Argument(help="Public name of the stream: a-z, 0-9, - and _.")]
Name = Annotated[str, typer.Argument(help="Public name of the stream.", autocompletion=stream_names)]


@contextmanager
def _open(settings: Settings) -> Iterator[tuple[Registry, Publishes]]:
    # SQLAlchemy takes as long to load as everything else together; the other commands do without it.
    from streamwave.streams.database import Database
    from streamwave.streams.publishes import Publishes
    from streamwave.streams.registry import Registry

    database = Database.open(settings)
    try:
        yield Registry(database), Publishes(database)
    finally:
        database.close()


def print_key(console: Console, settings: Settings, name: str, key: str) -> None:
    """Print what to enter in OBS and where to watch. The key is shown only this once."""
    for line in obs_lines(settings, name, key):
        console.print(line, markup=False)


def _key_document(settings: Settings, name: str, key: str) -> KeyDocument:
    server = f"rtmp://{reachable(settings.rtmp_host)}:{settings.rtmp_port}/live"
    return KeyDocument(name=name, server=server, key=key, watch=f"{settings.public_url.rstrip('/')}/?stream={name}")


def _give_key(settings: Settings, name: str, key: str, json: bool) -> None:
    if json:
        emit(_key_document(settings, name, key))
    else:
        print_key(out, settings, name, key)


def obs_lines(settings: Settings, name: str, key: str) -> list[str]:
    """What to enter in OBS and where to watch, as lines of text."""
    return [
        "In OBS, Settings > Stream, Service: Custom",
        f"  Server      rtmp://{reachable(settings.rtmp_host)}:{settings.rtmp_port}/live",
        f"  Stream Key  {key}",
        f"Watch at {settings.public_url.rstrip('/')}/?stream={name}",
        "The key is not stored and will not be shown again. From another machine, use this machine's address.",
    ]


@streams_app.command()
def add(
    name: NewName,
    title: Annotated[str, typer.Option(help="Shown to viewers.")] = "",
    json: Json = False,
) -> None:
    """Add a stream, and print what to enter in OBS. The key is shown only this once.

    Output: the stream goes to the database; stdout gets the key, as text or JSON.

    Example: [bold]streamwave streams add stage --title "Main stage"[/bold]
    """
    settings = Settings.load()
    with _open(settings) as (registry, _):
        stream, key = registry.add(name, title)
    _give_key(settings, stream.name, key, json)


@streams_app.command("ls")
def list_streams(json: Json = False) -> None:
    """List the streams.

    Output: stdout gets a table, or JSON.

    Example: [bold]streamwave streams ls[/bold]
    """
    with _open(Settings.load()) as (registry, publishes):
        streams = registry.all()
        publishing = {publish.stream: publish for publish in publishes.open() if publish.accepted}
    if json:
        shapes = [
            StreamShape(
                name=one.name, title=one.title, enabled=one.enabled, publishing=one.name in publishing,
                broadcast=publishing[one.name].broadcast if one.name in publishing else None,
                created_unix_ms=one.created_unix_ms,
            )
            for one in streams
        ]  # fmt: skip
        emit(StreamsDocument(streams=shapes))
        return
    if not streams:
        out.print("no streams yet; add one with: streamwave streams add NAME")
        return
    rows = []
    for stream in streams:
        publish = publishing.get(stream.name)
        state = "disabled" if not stream.enabled else "yes" if publish else "no"
        created = time.strftime("%Y-%m-%d %H:%M", time.gmtime(stream.created_unix_ms // 1000))
        rows.append([stream.name, stream.title, state, publish.broadcast if publish else "", created])
    print_table(out, ("name", "title", "publishing", "broadcast", "created (UTC)"), rows, wraps=("title",))


@streams_app.command("rotate-key")
def rotate_key(name: Name, json: Json = False) -> None:
    """Give a stream a new key. A publisher that uses the old key is disconnected within seconds.

    Output: stdout gets the new key, as text or JSON.

    Example: [bold]streamwave streams rotate-key stage[/bold]
    """
    settings = Settings.load()
    with _open(settings) as (registry, _):
        key = registry.rotate_key(name)
    _give_key(settings, name, key, json)


@streams_app.command("rm")
def remove(name: Name) -> None:
    """Remove a stream and its key. A current publisher is disconnected within seconds; recordings are kept.

    Output: the change goes to the database; stdout gets one line.

    Example: [bold]streamwave streams rm stage[/bold]
    """
    with _open(Settings.load()) as (registry, _):
        registry.remove(name)
    out.print(f"removed {name}")


@streams_app.command()
def disable(name: Name) -> None:
    """Refuse publishers until the stream is enabled again. A current publisher is disconnected within seconds.

    Output: the change goes to the database; stdout gets one line.

    Example: [bold]streamwave streams disable stage[/bold]
    """
    with _open(Settings.load()) as (registry, _):
        registry.change(name, enabled=False)
    out.print(f"disabled {name}")


@streams_app.command()
def enable(name: Name) -> None:
    """Accept publishers again.

    Output: the change goes to the database; stdout gets one line.

    Example: [bold]streamwave streams enable stage[/bold]
    """
    with _open(Settings.load()) as (registry, _):
        registry.change(name, enabled=True)
    out.print(f"enabled {name}")
