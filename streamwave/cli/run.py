"""``streamwave run``: publish one live source with a flow run in this process."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from pydantic import SecretStr
from rich.console import Console

from streamwave.cli.transcode import Interrupted, check_writable, first_line, prefect_for, wanted_output
from streamwave.config.settings import Settings
from streamwave.errors import IncompleteError, OutputError, SourceError, StreamWaveError
from streamwave.pipeline.messages import left
from streamwave.pipeline.receiving import end_killed
from streamwave.sources.address import check_stream_name, resolve_source
from streamwave.spool.broadcast import BroadcastSpool, abandoned
from streamwave.spool.remote.objects import check_spool
from streamwave.storage.outputs import outputs

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Ending:
    """What Ctrl-C and SIGTERM do: the first stops only the receiving, so that everything received is still published.

    The second aborts the run, as does the first if nothing is being received yet.
    """

    def __init__(self, console: Console) -> None:
        self.asked = False
        self._console = console

    def take_over(self, stop: Callable[[], None]) -> None:
        """Handle the next signal by calling ``stop``, which ends the receiving.

        Must be called within the flow run, because Prefect installs its own signal handler when the run starts.
        """

        def gently(number: int, frame: object) -> None:
            for one in _SIGNALS:
                signal.signal(one, signal.default_int_handler)
            self.asked = True
            stop()
            with suppress(OSError, SystemExit):  # rich exits where nobody reads stdout any more
                self._console.print("stopping; press Ctrl-C again to abort")

        for number in _SIGNALS:
            signal.signal(number, gently)

    def wait(self, news: str, stop: Callable[[], None]) -> None:
        """Only outputs that are behind are waited for now: handle the next signal by ending that wait with ``stop``."""

        def end(number: int, frame: object) -> None:
            for one in _SIGNALS:
                signal.signal(one, signal.default_int_handler)
            stop()

        for number in _SIGNALS:
            signal.signal(number, end)
        self._console.print(f"{news}; press Ctrl-C to stop waiting", soft_wrap=True, markup=False)


@contextmanager
def _restored() -> Iterator[None]:
    """Restore the signal handlers on exit."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_live(source: str, stream: str, output: str | None, console: Console) -> None:
    """Publish ``source`` as ``stream`` until it ends.

    Raises:
        StreamWaveError: something that the user can fix, described in one sentence.
    """
    settings = Settings.load()
    url = resolve_source(source)
    check_stream_name(stream)
    root = wanted_output(output, settings)
    places = [target.url.rstrip("/") for target in outputs(root)]

    def say(begin: str, roots: list[str], end: str) -> None:
        lines = [f"{place}/{stream}/" for place in roots]
        text = f"{begin} {lines[0]}{end}" if len(lines) == 1 else "\n  ".join([begin, *lines]) + end
        console.print(text, soft_wrap=True, markup=False)

    # Check first: otherwise chunks would be received that nothing can publish.
    check_writable(root, settings)
    check_spool(settings.spool_url, settings.spool_options)
    say("publishing to", places, "; press Ctrl-C to stop")
    ending = Ending(console)
    with prefect_for(settings) as ready, _restored():
        ready()
        from flows.caller import Caller, of_the_user
        from flows.live_stream import TerminationSignal, live_stream

        for killed in abandoned(settings.spool_dir, stream, root, settings.spool_url or ""):
            console.print(f"completing {stream}/{killed.broadcast} first: the previous run was killed", soft_wrap=True)
            # Don't let an unreachable output delay the new broadcast.
            unheeded = Caller(on_wait=lambda news, stop: stop())
            try:
                end_killed(killed)
                with of_the_user(unheeded):
                    live_stream(broadcast_spool=str(killed.folder))
                for news in _left_behind(killed):
                    console.print(news, soft_wrap=True, markup=False)
            except TerminationSignal:
                raise KeyboardInterrupt from None
            except Exception as error:
                console.print(f"it remains incomplete for now: {first_line(error)}", soft_wrap=True)
        incomplete: IncompleteError | None = None
        try:
            with of_the_user(Caller(on_receiving=ending.take_over, on_wait=ending.wait)):
                # Prefect stores a flow's parameters, but not the content of a SecretStr.
                live_stream(source=SecretStr(url), stream=stream, output=root)
        except TerminationSignal:
            raise KeyboardInterrupt from None
        except IncompleteError as error:
            incomplete = error
        except SourceError as error:
            if ending.asked:
                raise Interrupted("ended before anything was received; there is no recording") from error
            raise
        except OutputError as error:
            if ending.asked and abandoned(settings.spool_dir, stream, root, settings.spool_url or ""):
                raise Interrupted(
                    f"{error}; the next streamwave run of {stream} publishes the rest of what was received"
                ) from error
            raise
        except StreamWaveError:
            raise
        except Exception as error:
            raise StreamWaveError(f"the run failed: {first_line(error)}; --debug shows the traceback") from error
    behind = incomplete.behind if incomplete is not None else ()
    whole = [place for place in places if not any(one.startswith(f"{place}/{stream}/") for one in behind)]
    say("the recording is complete:" if len(whole) == 1 else "the recording is complete at", whole, "")
    if incomplete is not None:
        raise incomplete


def _left_behind(spool: BroadcastSpool) -> list[str]:
    """One sentence for each output that lacks a part of a finished broadcast."""
    reported = spool.status().get("outputs")
    path = f"{spool.stream}/{spool.broadcast}"
    listed = reported if isinstance(reported, list) else []
    return [left(one["output"], one["error"], path) for one in listed if one["error"]]
