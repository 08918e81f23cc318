"""``streamwave run``: one live source, published by a flow run in this process."""

from __future__ import annotations

from rich.console import Console

from streamwave.cli.transcode import first_line, prefect_for
from streamwave.errors import StreamWaveError, UsageError
from streamwave.settings import Settings
from streamwave.source import is_stream_name, resolve_source


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
    console.print(f"publishing to {root}/{stream}/; Ctrl-C ends it")
    with prefect_for(settings):
        from flows.live_stream import live_stream

        try:
            live_stream(source=source, stream=stream, output=root)
        except StreamWaveError:
            raise
        except Exception as error:
            raise StreamWaveError(f"the run failed: {first_line(error)}; --debug shows more") from error
    console.print(f"the recording is complete: {root}/{stream}/")
