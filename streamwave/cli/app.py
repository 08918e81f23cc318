"""The command line. Every failure is reported as one line; tracebacks appear only with ``--debug``.

The command line is the only package that may import both flows and services, and it does so only inside the commands, so
that ``--help`` stays fast.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from contextlib import suppress
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from streamwave.cli.abort import watch_signals
from streamwave.cli.broadcasts import broadcasts_app
from streamwave.cli.cluster import cluster_app
from streamwave.cli.complete import stream_names
from streamwave.cli.exits import epilog
from streamwave.cli.output import Json, emit
from streamwave.cli.prefect import prefect_app
from streamwave.cli.streams import streams_app
from streamwave.cli.wording import reworded
from streamwave.config.settings import Settings
from streamwave.errors import StreamWaveError, printable
from streamwave.state.folders import close_state
from streamwave.util.version import VERSION

#: Errors of a write to stdout. Files have names in their errors, and the library turns those into its own.
_REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

app = typer.Typer(
    name="streamwave",
    help="Turns live streams and files into adaptive streams (CMAF with DASH and HLS) that every player plays.",
    no_args_is_help=True,
    epilog=epilog(),
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
out = Console(highlight=False, emoji=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"streamwave {VERSION}")
        raise typer.Exit


AUDIO_TRACK = typer.Option(
    "--audio-track", min=1, help="Audio track to use, counted from 1. Default: STREAMWAVE_AUDIO_TRACK."
)

app.add_typer(streams_app, name="streams")
app.add_typer(broadcasts_app, name="broadcasts")
app.add_typer(prefect_app, name="prefect")
app.add_typer(cluster_app, name="cluster")


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show Prefect's log and tracebacks.")] = False,
) -> None:
    if debug:
        os.environ["STREAMWAVE_LOG_LEVEL"] = "debug"
    settings = None
    with suppress(StreamWaveError):  # the command itself reports it
        settings = Settings.load()
        for warning in settings.warnings:
            _say("warning", "yellow", warning)
    if settings is not None and context.invoked_subcommand not in ("doctor", "probe"):
        close_state(settings)


@app.command()
def transcode(
    source: Annotated[str, typer.Argument(help="A video file, or a URL (http, https, rtmp, srt) of finite length.")],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="Folder, or address such as s3://bucket/prefix. Default: OUTPUT_DIR."),
    ] = None,
    ladder: Annotated[
        str | None,
        typer.Option(
            help="Renditions to make, such as 1080p,720p, or a ladder file. Default: all that fit the source."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a broadcast that the output already contains.")
    ] = False,
    audio_track: Annotated[int | None, AUDIO_TRACK] = None,
    workers: Annotated[
        str | None,
        typer.Option(
            help="Scheduler whose workers encode, such as dask://studio:8786. Default: STREAMWAVE_TASK_RUNNER."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Transcode SOURCE into an adaptive stream: every chunk in every rendition, as tasks of a Prefect flow run.

    Uses the Prefect server at PREFECT_API_URL, or else starts one for the duration of the command.

    Output: segments, manifest.mpd and master.m3u8 go to --output; stdout gets their addresses, or JSON.

    Example: [bold]streamwave transcode talk.mp4 --output out/talk --ladder 720p,360p[/bold]
    """
    from streamwave.cli.transcode import run_transcode

    run_transcode(source, output, ladder, overwrite, out, audio_track, json, workers)


@app.command()
def probe(
    source: Annotated[str, typer.Argument(help="A video file or URL.")],
    ladder: Annotated[str | None, typer.Option(help="The ladder to plan with, as in transcode.")] = None,
    audio_track: Annotated[int | None, AUDIO_TRACK] = None,
    json: Json = False,
) -> None:
    """Show the tracks of SOURCE and the renditions that would be made from it.

    Output: stdout gets tables, or JSON; nothing is written.

    Example: [bold]streamwave probe talk.mp4 --json[/bold]
    """
    from streamwave.cli.probe import run_probe

    run_probe(source, ladder, out, audio_track, json)


@app.command()
def doctor(json: Json = False) -> None:
    """Check this machine: FFmpeg, nginx-rtmp, ports, disk, access, Prefect. Exit code 1 if something must be fixed.

    Output: stdout gets a table, or JSON; nothing is written.

    Example: [bold]streamwave doctor[/bold]
    """
    from streamwave.cli.doctor import document, load_settings, run_checks, show_checks

    checks = run_checks(load_settings())
    if json:
        emit(document(checks))
    else:
        show_checks(checks, out)
    if any(check.status == "fail" for check in checks):
        raise typer.Exit(1)


@app.command()
def demo(
    source: Annotated[str | None, typer.Option(help="A file to publish. Default: a generated clip.")] = None,
    duration: Annotated[int | None, typer.Option(min=1, help="Seconds to publish. Default: until Ctrl-C.")] = None,
) -> None:
    """Run every service, publish a clip as OBS would, and print where to watch it.

    With --duration the publish ends after that time, and a table shows whether every frame arrived. Exit code 1 if not.

    Output: the recording goes to OUTPUT_DIR, logs to the state folder; stdout gets the addresses and the table.

    Example: [bold]streamwave demo --duration 30[/bold]
    """
    from streamwave.cli.demo import run_demo

    code = run_demo(source, duration, out)
    if code:
        raise typer.Exit(code)


@app.command()
def up(
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="Encode on workers: run a Dask scheduler at this address, such as dask://0.0.0.0:8786, and one worker. "
            "Default: STREAMWAVE_SCHEDULER."
        ),
    ] = None,
) -> None:
    """Run every service on this machine: RTMP, ingest, processing, Prefect, media server and player page.

    The first start creates a stream and prints the values to enter in OBS. Ctrl-C stops every service; a broadcast that was
    live is completed at the next start. With --scheduler, workers of other machines that have the key can join.

    Output: recordings go to OUTPUT_DIR, logs to the state folder; stdout gets the values to enter in OBS.

    Example: [bold]streamwave up[/bold]
    """
    from streamwave.cli.up import run_up

    run_up(out, scheduler)


@app.command()
def run(
    source: Annotated[str, typer.Argument(help="The source to publish: an rtmp, srt or http URL, or a file.")],
    stream: Annotated[
        str, typer.Option(help="The stream's public name: a-z, 0-9, - and _.", autocompletion=stream_names)
    ],
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Root of the outputs. Default: OUTPUT_DIR.")
    ] = None,
) -> None:
    """Publish one live source without the services, until it ends or you press Ctrl-C.

    Output: the broadcast goes to --output; stdout gets its addresses.

    Example: [bold]streamwave run srt://encoder:9000 --stream stage[/bold]
    """
    from streamwave.cli.run import run_live

    run_live(source, stream, output, out)


SCHEDULER = typer.Argument(
    help="The scheduler's address: dask://HOST:8786, or tls:// or tcp://. Default: STREAMWAVE_TASK_RUNNER."
)


@app.command()
def scheduler(
    address: Annotated[
        str | None, typer.Argument(help="Where it listens: dask://HOST:8786, or tls:// or tcp://.")
    ] = None,
) -> None:
    """Run a scheduler, through which runs reach workers on other machines.

    Without ADDRESS it listens at STREAMWAVE_SCHEDULER, or else STREAMWAVE_TASK_RUNNER, or else dask://127.0.0.1:8786.

    Output: messages go to stdout; nothing is written.

    Example: [bold]streamwave scheduler tls://0.0.0.0:8786[/bold]
    """
    from streamwave.cli.cluster import run_scheduler

    run_scheduler(address)


@app.command()
def worker(
    address: Annotated[str | None, SCHEDULER] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on which the scheduler reaches this worker. 0: any free one.")
    ] = 0,
) -> None:
    """Run a worker, which encodes chunks for all runs that use the scheduler at ADDRESS. Needs only that address and the key.

    It takes as many chunks at a time as STREAMWAVE_FFMPEG_SLOTS allows. SIGTERM lets it finish what it has begun.

    Output: messages go to stdout; chunks that it works on are in the state folder.

    Example: [bold]streamwave worker dask://studio:8786[/bold]
    """
    from streamwave.cli.cluster import run_worker

    run_worker(address, port)


@app.command()
def serve(part: Annotated[str, typer.Argument(help="ingest, processing, rtmp or media.")]) -> None:
    """Run one service alone, as in a container. Its settings come from the environment.

    Output: the service logs to stderr; recordings go to OUTPUT_DIR.

    Example: [bold]streamwave serve ingest[/bold]
    """
    from streamwave.cli.serve import run_part

    run_part(part)


def main() -> None:
    """Entry point: run a command, and turn an error into one line and an exit code."""
    # SIGTERM takes the same path as Ctrl-C, so that everything is cleaned up.
    signal.signal(signal.SIGTERM, _interrupt)
    # Shells start background jobs with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    watch_signals()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # Don't fail on names that the terminal cannot show or that are not valid text.
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(standalone_mode=False)
        _flush()
    except StreamWaveError as error:
        if os.environ.get("STREAMWAVE_LOG_LEVEL", "").lower() == "debug":
            err.print_exception()
        for line in str(error).splitlines() or [type(error).__name__]:
            _say("error", "red", reworded(line))
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        err.print("stopped")
        sys.exit(130)
    except BrokenPipeError:
        _discard_output()
        sys.exit(1)  # whoever read stdout has seen enough
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _REFUSALS and error.filename is None:
            _discard_output()
            _say("error", "red", f"stdout cannot be written ({error.strerror}); free some space, or send it elsewhere")
            sys.exit(1)
        if _is_usage(error):
            if misuse := _misuse(error):
                _say("error", "red", misuse)
            sys.exit(2)
        if os.environ.get("STREAMWAVE_LOG_LEVEL", "").lower() == "debug":
            raise
        what = (str(error) or "no message").splitlines()[0]
        _say("error", "red", f"unexpected {type(error).__name__}: {what}; --debug shows the traceback")
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


def _flush() -> None:
    if sys.stdout is not None:  # ``>&-`` has closed it
        sys.stdout.flush()


def _discard_output() -> None:
    """Let the interpreter's own flush of stdout at exit succeed."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _is_usage(error: Exception) -> bool:
    # typer vendors click or uses the installed one; the usage errors of both have these two attributes.
    return hasattr(error, "show") and hasattr(error, "exit_code")


def _misuse(error: Any) -> str:
    """What is wrong with the command line, and where its usage is documented; empty if help was shown instead."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "streamwave"
    what = error.format_message().rstrip(".")
    if not what:
        return ""
    hint = ""
    if what.startswith("No such option"):
        hint = " (write a file name that begins with - as ./-NAME)"
    elif what.startswith("Got unexpected extra argument"):
        hint = " (put a name with spaces in quotation marks)"
    return f"{what[:1].lower()}{what[1:]}{hint}; see {command} --help"


def _say(kind: str, colour: str, text: str) -> None:
    """Print one line to standard error, without interpreting markup or terminal control characters in ``text``."""
    with suppress(OSError):  # the exit code still tells
        err.print(Text.assemble((f"{kind}:", colour), f" {printable(text)}"))
