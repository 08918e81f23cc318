"""``streamwave transcode``: run the vod flow here, with a progress bar."""

from __future__ import annotations

import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

import httpx
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from streamwave.cli.output import emit, shows_progress
from streamwave.cli.shapes import AddressShape, TranscodeDocument
from streamwave.cli.wording import reworded
from streamwave.cluster.cluster import check_workers
from streamwave.cluster.endpoint import endpoint, endpoint_of
from streamwave.config.prefect_env import CLIENT_ENV
from streamwave.config.settings import Settings
from streamwave.errors import IncompleteError, OutputError, StreamWaveError, UsageError
from streamwave.ffmpeg.locate import locate
from streamwave.ffmpeg.probe import check_decodable, check_track
from streamwave.ffmpeg.probing import probe
from streamwave.ffmpeg.process import launcher
from streamwave.layout import MANIFEST, MASTER, ledger_name
from streamwave.model import Rendition
from streamwave.pipeline import ladder as ladders
from streamwave.pipeline.ahead import HeadStart
from streamwave.pipeline.vod import file_session
from streamwave.sources.address import redact, resolve_source
from streamwave.state.folders import close_state
from streamwave.state.prefect_auth import auth_string, client_environment
from streamwave.storage.outputs import OutputAddress, check_outputs, outputs
from streamwave.util.private import make_folder


@contextmanager
def prefect_for(settings: Settings) -> Iterator[Callable[[], None]]:
    """Point the environment at a Prefect server: the configured one, or a temporary one that ends with this context.

    Must be entered before anything imports prefect, which reads the environment only at import. The server is still
    starting when this yields; the function that it yields waits for it and imports Prefect. Call that before a flow.
    """
    from flows.server import free_port, load_prefect, starting_server

    for name, value in CLIENT_ENV.items():
        os.environ.setdefault(name, value)
    # Prefect would log the traceback of every failure; the command line reports each in one line.
    os.environ["PREFECT_LOGGING_LEVEL"] = "DEBUG" if settings.log_level == "debug" else "CRITICAL"
    # Sending logs to a server that ends with this process is wasted work.
    if not settings.prefect_api_url:
        os.environ["PREFECT_LOGGING_TO_API_ENABLED"] = "false"
    close_state(settings, make=True)
    make_folder(settings.prefect_home)
    os.environ["PREFECT_HOME"] = str(settings.prefect_home)
    if settings.prefect_api_url:
        _check_server(settings.prefect_api_url)
        os.environ |= client_environment(settings)
        yield lambda: load_prefect(settings.prefect_home)
        return
    auth = auth_string(settings) or ""
    with starting_server(settings.prefect_home, auth, free_port()) as server:
        os.environ |= {"PREFECT_API_URL": server.url, "PREFECT_API_AUTH_STRING": auth}

        def ready() -> None:
            load_prefect(settings.prefect_home)
            server.wait()

        try:
            yield ready
        finally:
            for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING"):
                del os.environ[name]


class Interrupted(StreamWaveError):
    """Ctrl-C or SIGTERM; the exit code is the one that shells use for it."""

    exit_code = 130


@contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(
            "interrupted; the incomplete output was removed, run the command again to start over"
        ) from None


def _check_server(api_url: str) -> None:
    try:
        reached = httpx.get(f"{api_url.rstrip('/')}/health", timeout=10).status_code == 200
    except httpx.HTTPError:
        reached = False
    if not reached:
        raise StreamWaveError(
            f"PREFECT_API_URL is {redact(api_url)}, which does not answer; start that server, or unset the variable to "
            "use a temporary server"
        )


@_interruptible()
def run_transcode(
    source: str,
    output: str | None,
    ladder: str | None,
    overwrite: bool,
    console: Console,
    audio_track: int | None = None,
    json: bool = False,
    workers: str | None = None,
) -> str:
    """Transcode ``source`` with a Prefect server and a progress bar, and return the output's root.

    ``workers``: address of the scheduler whose workers encode, instead of the setting.

    Raises:
        StreamWaveError: something that the user can fix, described in one sentence.
    """
    settings = Settings.load()
    if workers is not None:
        endpoint(workers, settings.cluster_keys, plain=settings.cluster_plain)
        os.environ["STREAMWAVE_TASK_RUNNER"] = workers  # for the flow, which reads the settings itself
        settings = Settings.load()
    target = wanted_output(output, settings)
    url = resolve_source(source)
    chosen, scheduler = ladders.choose(settings.ladder, ladder), endpoint_of(settings)
    started, found = time.monotonic(), list[str]()
    with _bar(Console(stderr=True) if json else console) as bar:
        task = bar.add_task("starting", total=None, speed="", chunks="", left="")
        # Prefect's server takes seconds to start, so it does that while the request is checked and the first chunks are made.
        with prefect_for(settings) as ready, ExitStack() as stack:
            binary = locate(str(settings.ffmpeg_path) if settings.ffmpeg_path else None)
            info = probe(url, settings.audio_index(audio_track), settings.source_limits)
            check_decodable(info, binary)
            check_track(info, audio_track)
            renditions = ladders.plan(info, chosen)
            check_writable(target, settings)
            if scheduler is not None:
                check_workers(scheduler, binary.path)
            if _holds_broadcast(target, settings):
                ready()  # nothing that exists is touched unless the run can start
            bar.update(task, description="transcoding")
            begun = time.monotonic()
            launcher(settings.ffmpeg_slot_count).reopen()
            opening = file_session(
                url, settings, output=target, ladder=ladder, overwrite=overwrite, audio_track=audio_track
            )
            ahead = stack.enter_context(HeadStart(opening, settings.max_chunks_in_flight))
            ready()
            from flows.caller import Caller, of_the_user
            from flows.vod import vod

            def show(done_ms: int, expected_ms: int | None, chunks: int) -> None:
                spent = max(time.monotonic() - begun, 0.001)
                speed = done_ms / 1000 / spent
                left = ""
                if expected_ms and speed > 0:
                    left = f"{max(0, expected_ms - done_ms) / 1000 / speed:.0f} s left"
                bar.update(
                    task, total=expected_ms, completed=done_ms, description="transcoding",
                    speed=f"{speed:.1f}x", chunks=f"{chunks} chunks", left=left,
                )  # fmt: skip

            incomplete: IncompleteError | None = None
            try:
                with of_the_user(Caller(on_progress=show, on_note=found.append, ahead=ahead)):
                    vod(source=url, output=target, ladder=ladder, overwrite=overwrite, audio_track=audio_track)
            except IncompleteError as error:
                incomplete = error
            except StreamWaveError:
                raise
            except Exception as error:
                raise StreamWaveError(f"the run failed: {first_line(error)}; --debug shows the traceback") from error
    behind = incomplete.behind if incomplete is not None else ()
    roots = [one for one in outputs(target) if one.url not in behind]
    names = ", ".join(r.name for r in renditions)
    if json:
        emit(_document(roots, behind, renditions, round((time.monotonic() - started) * 1000), found))
        if incomplete is not None:
            raise incomplete
        return target
    # Not wrapped: an address that spans two lines cannot be copied.
    console.print(
        f"written to [bold]{'[/bold], [bold]'.join(escape(one.url.rstrip('/')) for one in roots)}[/bold] "
        f"in {time.monotonic() - started:.1f} s: {names}\n{where_to_watch(roots, settings)}",
        soft_wrap=True,
    )
    for note in found:
        console.print(f"note: {escape(note)}", soft_wrap=True)
    if incomplete is not None:
        raise incomplete
    return target


def _document(
    roots: Sequence[OutputAddress],
    behind: Sequence[str],
    renditions: Sequence[Rendition],
    elapsed_ms: int,
    found: list[str],
) -> TranscodeDocument:
    urls = [one.url.rstrip("/") for one in roots]
    return TranscodeDocument(
        outputs=[AddressShape(output=url, dash=f"{url}/{MANIFEST}", hls=f"{url}/{MASTER}") for url in urls],
        incomplete_outputs=list(behind), renditions=[one.name for one in renditions], elapsed_ms=elapsed_ms, notes=found,
    )  # fmt: skip


def where_to_watch(places: Sequence[OutputAddress], settings: Settings) -> str:
    """Lines for the console: the addresses for players, and what has to be done so that players can read them."""
    place = next((one for one in places if one.is_local), places[0])
    root = place.url.rstrip("/")
    hint = f"or serve the folder: [bold]python -m services.media --root {escape(shlex.quote(root))}[/bold]"
    if settings.base_urls and not place.is_local:
        root, hint = settings.base_urls[0].url.rstrip("/"), "the address in STREAMWAVE_BASE_URLS"
    elif (address := place.http_address(settings.s3_options)) is not None:
        root = address
        hint = "if a bucket policy or STREAMWAVE_S3_ACL=public-read allows reading its objects (docs/storage.md)"
    elif not place.is_local:
        return f"serve {escape(root)} over HTTP to watch it, and set STREAMWAVE_BASE_URLS to that address"
    root = escape(root)
    return (
        f"  DASH  {root}/{MANIFEST}\n  HLS   {root}/{MASTER}\nwatch it with [bold]ffplay {root}/{MASTER}[/bold], {hint}"
    )


def check_writable(output: str, settings: Settings) -> None:
    """Check that at least one of the outputs can be written, and print a warning for each that cannot.

    Raises:
        OutputError: none can be written.
    """
    for fault in check_outputs(output, settings.s3_options):
        print(f"warning: {fault}; the other outputs are still written", file=sys.stderr)


def _holds_broadcast(output: str, settings: Settings) -> bool:
    """Whether one of the outputs contains a broadcast, complete or not."""
    for address in outputs(output):
        with suppress(OutputError):  # the run waits for it, or reports it
            if address.open(settings.s3_options, quick=True).get(ledger_name(0)) is not None:
                return True
    return False


def wanted_output(output: str | None, settings: Settings) -> str:
    """The outputs given by ``--output``, or else those of the settings.

    Raises:
        UsageError: ``--output`` contains no valid outputs, or one in memory, which is lost when the command ends.
    """
    found = settings.output_url if output is None else output
    if re.search(r"(^|::)memory:", found):
        raise UsageError(f"{found} is lost when the command ends; name a folder or an address that lasts")
    outputs(found)
    return found


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[chunks]}"),
        TextColumn("{task.fields[speed]}"),
        TextColumn("{task.fields[left]}"),
        TimeElapsedColumn(),
        console=console,
        disable=not shows_progress(console),  # otherwise rich writes an empty line to files and pipes
    )


def first_line(error: Exception) -> str:
    """The first line of an error, for a message that contains it."""
    return reworded((str(error) or type(error).__name__).splitlines()[0])
