"""``streamwave broadcasts``: list, show, verify, export, complete and delete what has been published."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from streamwave.broadcasts import catalog
from streamwave.broadcasts.catalog import Broadcast, Copy, Output
from streamwave.broadcasts.finalize import give_up, unpublished
from streamwave.cli.complete import broadcast_names
from streamwave.cli.output import Json, emit, print_table, shows_progress
from streamwave.cli.shapes import (
    BroadcastsDocument,
    CleanDocument,
    CleanedShape,
    CopyShape,
    ExportDocument,
    FileShape,
    VerifyDocument,
)
from streamwave.cli.show import broadcast_shape
from streamwave.cli.units import length_text, moment_text, size_text
from streamwave.cli.verify import print_copy, verify_copy
from streamwave.config.settings import Settings
from streamwave.errors import OutputError, UsageError
from streamwave.model import State
from streamwave.spool.broadcast import BroadcastSpool
from streamwave.storage.outputs import outputs

broadcasts_app = typer.Typer(
    name="broadcasts", help="List, check, export and delete published broadcasts.", no_args_is_help=True
)
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

Name = Annotated[
    str,
    typer.Argument(
        help="STREAM/BROADCAST; either part alone if unambiguous; or the folder or address of a broadcast.",
        autocompletion=broadcast_names,
    ),
]
At = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        help="Output to look in, a folder or an address; commas separate several. Default: OUTPUT_DIR.",
    ),
]


def choose(name: str, url: str | None) -> tuple[Output, Broadcast]:
    """The most complete copy of the broadcast ``name``, with its output. Raises UsageError if there is no such broadcast."""
    return copies(name, url)[0][0]


def copies(name: str, url: str | None) -> tuple[list[Copy], list[str]]:
    """Every copy of the broadcast ``name``, the most complete first; and a message for each output that could not be read.

    A folder or address selects that one copy. Raises UsageError if there is no such broadcast.
    """
    return catalog.named(name, url, Settings.load(), time.time_ns() // 1_000_000)


def tell(faults: Sequence[str], consequence: str) -> None:
    """Report what went wrong with outputs, if anything did, and exit with code 1."""
    for fault in faults:
        err.print(f"{fault}; {consequence}", markup=False)
    if faults:
        raise typer.Exit(1)


@broadcasts_app.command("ls")
def list_broadcasts(output: At = None, json: Json = False) -> None:
    """List the broadcasts, newest first. With several outputs, also show how many of them hold each broadcast.

    Output: stdout gets a table, or JSON.

    Example: [bold]streamwave broadcasts ls | grep stage[/bold]
    """
    places = catalog.outputs(Settings.load(), output)
    found, faults = catalog.everywhere(places, time.time_ns() // 1_000_000)
    if json:
        rows = [broadcast_shape(same[0][1], [where.url for where, _ in same]) for same in found]
        emit(BroadcastsDocument(broadcasts=rows, faults=list(faults)))
    elif found:
        _print_table(found, len(places))
    elif len(faults) < len(places):
        out.print(f"no broadcasts in {', '.join(where.url for where in places)}", markup=False)
    tell(faults, "its broadcasts are not listed")


def _print_table(found: Sequence[Sequence[Copy]], places: int) -> None:
    headings = ["broadcast", "title", "state", "started (UTC)", "length", "renditions", "size"]
    rows = []
    for same in found:
        one = same[0][1]
        on_air = f" of {length_text(one.on_air_ms)}" if one.on_air_ms else ""
        row = (
            one.path or ".", one.title, one.state, moment_text(one.started_unix_ms),
            length_text(one.duration_ms) + on_air, " ".join(one.renditions), size_text(one.size_bytes),
        )  # fmt: skip
        rows.append([*row, *([f"{len(same)} of {places}"] if places > 1 else [])])
    headings += ["outputs"] if places > 1 else []
    print_table(out, headings, rows, wraps=("title", "renditions"), right=("length", "size"))


@broadcasts_app.command()
def show(name: Name, output: At = None, json: Json = False) -> None:
    """Show the periods and renditions of a broadcast, its gaps and filler, and the addresses to play it from.

    Output: stdout gets text, or JSON.

    Example: [bold]streamwave broadcasts show stage[/bold]
    """
    from streamwave.cli.show import print_broadcast, show_document

    where, found = choose(name, output)
    if json:
        emit(show_document(where, found, Settings.load()))
        return
    print_broadcast(where, found, Settings.load(), out)


@broadcasts_app.command()
def verify(
    name: Name,
    output: At = None,
    decode: Annotated[
        bool, typer.Option(help="Decode all media; --no-decode checks only boxes and timestamps.")
    ] = True,
    json: Json = False,
) -> None:
    """Read a broadcast as a player does: check that every segment exists, is contiguous with the one before, and decodes.

    Prints one line per finding; exit code 1 if there is any. A live broadcast is checked up to now. If several outputs hold
    the broadcast, every copy is checked; --output selects one.

    Output: stdout gets the findings, or JSON.

    Example: [bold]streamwave broadcasts verify stage --no-decode[/bold]
    """
    found, unread = copies(name, output)
    several, checked = len(found) + len(unread) > 1, list[CopyShape]()
    for where, copy in found:
        if several and not json:
            out.print(f"at {where.url}:", markup=False)
        try:
            checked.append(verify_copy(where, copy.path, decode=decode, bar=bar()))
        except OutputError as error:  # the other copies can still be checked
            if not several:
                raise
            unread.append(str(error))
        else:
            if not json:
                print_copy(checked[-1], out, decode=decode)
    without = _without(name, output, [*(where.url for where, _ in found), *unread])
    whole = not any(one.findings for one in checked)
    if json:
        ok = whole and not unread
        emit(VerifyDocument(ok=ok, decoded=decode, copies=checked, without_copy=without, faults=list(unread)))
    else:
        for url in without:
            out.print(f"at {url}: there is no copy", markup=False)
    tell(unread, "its copy has not been checked")
    if not whole:
        raise typer.Exit(1)


def _without(name: str, output: str | None, told_of: Sequence[str]) -> list[str]:
    """The outputs without a copy. That is not a fault: the output may have been added later, or the copy may have expired.

    ``told_of`` are the URLs of copies that were found, and the messages of outputs that could not be read.
    """
    if catalog.is_address(name):
        return []
    places = [where.url for where in catalog.outputs(Settings.load(), output)]
    if len(places) < 2:
        return []
    return [
        url for url in places if not any(text == url or text.startswith((f"{url} ", f"{url}/")) for text in told_of)
    ]


@broadcasts_app.command()
def export(
    name: Name,
    to: Annotated[
        Path | None, typer.Option("--to", help="The file to write. Default: NAME.mp4 in this folder.")
    ] = None,
    output: At = None,
    rendition: Annotated[str | None, typer.Option(help="Video rendition to export. Default: the best.")] = None,
    audio: Annotated[bool, typer.Option(help="Include the audio.")] = True,
    split: Annotated[
        bool,
        typer.Option(
            "--split", help="If the publisher changed the frame size or rate, write one file for each format."
        ),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
    json: Json = False,
) -> None:
    """Write a broadcast to one MP4 file without re-encoding. A live broadcast is exported up to now.

    Output: the file goes to --to; stdout gets its path, length and size, or JSON.

    Example: [bold]streamwave broadcasts export stage --to show.mp4[/bold]
    """
    from streamwave.broadcasts.export_files import export_files

    where, found = choose(name, output)
    target = to or Path(f"{(found.path or Path(where.url).name).replace('/', '-')}.mp4")
    with bar() as progress:
        task = progress.add_task("segments", total=None)

        def show_progress(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        written = export_files(where.store(found.path), target, rendition, audio, split, overwrite, show_progress)
    if json:
        files = [FileShape(path=str(path), duration_ms=ms, size_bytes=path.stat().st_size) for path, ms in written]
        emit(ExportDocument(files=files))
        return
    for path, length_ms in written:
        out.print(f"written: {path}, {length_text(length_ms)}, {size_text(path.stat().st_size)}", markup=False)


@broadcasts_app.command("catch-up")
def catch_up_outputs(
    name: Name,
    output: At = None,
    read_all: Annotated[
        bool, typer.Option("--read-all", help="Read every object, and replace those whose content differs.")
    ] = False,
) -> None:
    """Complete a recording at outputs that were unreachable when it ended, by copying from a complete one.

    Output: missing objects go to the outputs that lack them; stdout gets one line per complete output.

    Example: [bold]streamwave broadcasts catch-up stage/20260405-180000-1a2b[/bold]
    """
    from streamwave.broadcasts.catch_up import catch_up, source_of

    settings = Settings.load()
    places = settings.outputs if output is None else outputs(output)
    if len(places) < 2 or catalog.is_address(name):
        raise UsageError("nothing to catch up with: give the broadcast's name, and several outputs")
    where, found = source_of(copies(name, output)[0])
    published = catch_up(where, found, places, settings, lambda news: err.print(news, markup=False), read_all=read_all)
    for url in published.complete:
        out.print(f"complete at {url}", markup=False)
    tell(list(published.left_behind.values()), "its copy is incomplete: run this again when the output can be written")


@broadcasts_app.command()
def rm(
    names: Annotated[
        list[str], typer.Argument(help="Broadcasts to delete, named as in show.", autocompletion=broadcast_names)
    ],
    output: At = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete broadcasts completely, from all outputs. A live broadcast is refused.

    Output: stdout gets one line per broadcast.

    Example: [bold]streamwave broadcasts rm stage/20260405-180000-1a2b --yes[/bold]
    """
    catalog.outputs(Settings.load(), output)  # below, a UsageError means that no output has the broadcast
    chosen, waiting, faults = list[list[Copy]](), list[BroadcastSpool](), list[str]()
    for name in names:
        try:
            same, unread = copies(name, output)
        except UsageError:
            # A broadcast whose output was never reachable exists only in the spool.
            if (left := unpublished(Settings.load().spool_dir, name)) is None:
                raise
            waiting.append(left)
            continue
        chosen.append(same)
        faults += [fault for fault in unread if fault not in faults]
    for same in chosen:
        if any(found.state is State.LIVE for _, found in same):
            raise UsageError(
                f"{same[0][1].path or same[0][0].url} is live: end it first (if its run was killed, the next "
                "streamwave run of the stream completes it); nothing was deleted"
            )
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("deleting cannot be undone: give --yes where there is no terminal to ask on")
        for same in chosen:
            where, found = same[0]
            length, size = length_text(found.duration_ms), size_text(found.size_bytes)
            out.print(f"{escape(found.path or where.url)}  {moment_text(found.started_unix_ms)}  {length}  {size}")
        for spool in waiting:
            out.print(f"{spool.stream}/{spool.broadcast}: received, but not published to any output")
        typer.confirm("Delete permanently?", abort=True)
    for where, found in itertools.chain.from_iterable(chosen):
        try:
            _remove(where, found)
        except OutputError as error:
            faults.append(str(error))
    for spool in waiting:
        give_up(spool)
        out.print(f"deleted {spool.stream}/{spool.broadcast} from the spool")
    tell(faults, "its copy has not been deleted: run this again when the output can be reached")


@broadcasts_app.command()
def clean(
    output: At = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")] = False,
    json: Json = False,
) -> None:
    """Remove leftovers of crashes, and recordings older than STREAMWAVE_RECORDINGS_DAYS.

    The processing service does this every hour.

    Output: stdout gets one line per removed item, or JSON.

    Example: [bold]streamwave broadcasts clean --dry-run[/bold]
    """
    from streamwave.retention import janitor

    settings = Settings.load()
    now_ms = time.time_ns() // 1_000_000
    places = catalog.outputs(settings, output)
    spool = janitor.SpoolPlace.of(settings)
    done = janitor.clean(*places, days=settings.recordings_days, now_unix_ms=now_ms, dry_run=dry_run, spool=spool)
    if json:
        items = [
            CleanedShape(output=one.at, what=one.what, action="repair" if one.repairs else "remove", why=one.why,
                         trouble=one.trouble or None)
            for one in done if one.readable
        ]  # fmt: skip
        faults = [one.trouble or "" for one in done if not one.readable]
        emit(CleanDocument(dry_run=dry_run, items=items, faults=faults))
    for one in done if not json else ():
        if one.readable:
            verb = "repair" if one.repairs else "remove"
            verb = f"would {verb}" if dry_run else f"{'not ' if one.trouble else ''}{verb.rstrip('e')}ed"
            where = f"{one.at}: " if one.at and len(places) > 1 else ""
            out.print(f"{where}{verb} {one.what}: {one.trouble or one.why}", markup=False)
    if not done and not json:
        out.print("nothing to clean")
    tell([one.trouble or "" for one in done if not one.readable], "nothing was cleaned there")
    if any(one.trouble for one in done):
        raise typer.Exit(1)


def _remove(where: Output, found: Broadcast) -> None:
    from streamwave.broadcasts.delete import remove

    with bar() as progress:
        task = progress.add_task(f"deleting {found.path}", total=None)
        count = remove(where, found, lambda done, total: progress.update(task, completed=done, total=total))
    out.print(f"deleted {escape(found.path or where.url)}: {count} objects, {size_text(found.size_bytes)}")


def bar() -> Progress:
    """A progress bar that counts objects; disabled if stderr is not a terminal."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=err, disable=not shows_progress(err),
    )  # fmt: skip
