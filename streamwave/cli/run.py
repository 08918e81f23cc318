"""``streamwave run``: one live source, published by a flow run in this process."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pydantic import SecretStr
from rich.console import Console

from streamwave.cli.transcode import Interrupted, check_lasting, first_line, prefect_for
from streamwave.errors import StreamWaveError
from streamwave.settings import Settings
from streamwave.source import check_stream_name, resolve_source
from streamwave.spool.broadcast import BroadcastSpool, abandoned
from streamwave.spool.ending import end_journal

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Ending:
    """What Ctrl-C and SIGTERM do: the first one ends the receiving only, so that all that has arrived is published.

    The second one aborts, and so does the first one as long as nothing is being received.
    """

    def __init__(self, console: Console) -> None:
        self.asked = False
        self._console = console

    def take_over(self, stop: Callable[[], None]) -> None:
        """From here on ``stop`` is what ends the receiving. Called within the flow run: Prefect puts its own handler first."""

        def gently(number: int, frame: object) -> None:
            for one in _SIGNALS:
                signal.signal(one, signal.default_int_handler)
            self.asked = True
            self._console.print("ending; Ctrl-C again aborts")
            stop()

        for number in _SIGNALS:
            signal.signal(number, gently)


@contextmanager
def _restored() -> Iterator[None]:
    """Have the signals do afterwards what they did before."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_live(source: str, stream: str, output: str | None, console: Console) -> None:
    """Publish ``source`` as ``stream`` until it ends.

    Raises:
        StreamWaveError: what the user can mend, in one sentence.
    """
    settings = Settings.load()
    resolve_source(source)
    check_stream_name(stream)
    root = (output or settings.output_url).rstrip("/")
    check_lasting(root)
    console.print(f"publishing to {root}/{stream}/; Ctrl-C ends it", soft_wrap=True)
    ending = Ending(console)
    with prefect_for(settings), _restored():
        from flows.by_hand import on_receiving
        from flows.live_stream import TerminationSignal, live_stream

        for left in abandoned(settings.spool_dir, stream):
            console.print(f"completing {stream}/{left.broadcast} first: the run before was killed", soft_wrap=True)
            try:
                _end_sessions(left)
                live_stream(broadcast_spool=str(left.folder))
            except TerminationSignal:
                raise KeyboardInterrupt from None
            except Exception as error:
                console.print(f"it stays incomplete for now: {first_line(error)}", soft_wrap=True)
        token = on_receiving.set(ending.take_over)
        try:
            # Prefect keeps what a flow is called with, but not what is in a SecretStr.
            live_stream(source=SecretStr(source), stream=stream, output=root)
        except TerminationSignal:
            raise KeyboardInterrupt from None
        except StreamWaveError as error:
            if ending.asked:
                raise Interrupted("ended before anything was received; there is no recording") from error
            raise
        except Exception as error:
            raise StreamWaveError(f"the run failed: {first_line(error)}; --debug shows more") from error
        finally:
            on_receiving.reset(token)
    console.print(f"the recording is complete: {root}/{stream}/", soft_wrap=True)


def _end_sessions(left: BroadcastSpool) -> None:
    """Say in the journals of a run that was killed that nothing follows, once all is in them that it had received.

    Raises:
        OSError: the spool cannot be written.
    """
    for session in left.sessions():
        end_journal(session, "killed", "the run was killed; what it had received is published", as_last_written=True)
