"""``streamwave run``: one live source, published by a flow run in this process."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from streamwave.cli.transcode import check_lasting, first_line, prefect_for
from streamwave.errors import StreamWaveError, UsageError
from streamwave.settings import Settings
from streamwave.source import is_stream_name, resolve_source
from streamwave.spool.broadcast import broadcasts
from streamwave.spool.journal import writer_pid
from streamwave.spool.launch import request_stop


def _end_gently(settings: Settings, stream: str, console: Console) -> None:
    """Let the first Ctrl-C end the receiving only, so that all that has arrived is published; the second aborts."""

    def stop(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        console.print("ending; Ctrl-C again aborts")
        for broadcast in broadcasts(settings.spool_dir, stream):
            for session in broadcast.sessions():
                if _received_here(session):
                    request_stop(session)

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)


def _received_here(session: Path) -> bool:
    """Whether a segmenter that this process has started writes ``session``: the stream may be somebody else's."""
    with suppress(OSError, ValueError, IndexError):
        # pid (name, in which anything may stand) state parent ..., see proc(5)
        told = Path(f"/proc/{writer_pid(session)}/stat").read_text(encoding="utf-8", errors="replace")
        return int(told.rpartition(")")[2].split()[1]) == os.getpid()
    return False


def run_live(source: str, stream: str, output: str | None, console: Console) -> None:
    """Publish ``source`` as ``stream`` until it ends.

    Raises:
        StreamWaveError: what the user can mend, in one sentence.
    """
    settings = Settings.load()
    resolve_source(source)
    if not is_stream_name(stream):
        raise UsageError(f"{stream[:70]!r} cannot name a stream; use a-z, 0-9, - and _, at most 64 of them")
    root = (output or settings.output_url).rstrip("/")
    check_lasting(root)
    console.print(f"publishing to {root}/{stream}/; Ctrl-C ends it")
    with prefect_for(settings):
        from flows.live_stream import live_stream

        _end_gently(settings, stream, console)
        try:
            live_stream(source=source, stream=stream, output=root)
        except StreamWaveError:
            raise
        except Exception as error:
            raise StreamWaveError(f"the run failed: {first_line(error)}; --debug shows more") from error
    console.print(f"the recording is complete: {root}/{stream}/")
