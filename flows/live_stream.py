"""live-stream: the flow of one broadcast, from its first chunk until its recording is complete.

It never collects task runs without end: every few minutes of stream are a child flow run of their own (``window``),
which Prefect's UI can draw and upkeep can delete. Windows overlap: while one waits for its last chunks, the next one
already takes new ones, so that nothing is held up at the border.
"""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from flows.upkeep import delete_windows, sweep
from flows.windows import Windows
from streamwave.errors import UsageError
from streamwave.ffmpeg.process import launcher
from streamwave.ladder import load_ladder
from streamwave.live import LiveBroadcast, finish_cut_off
from streamwave.settings import Settings
from streamwave.source import is_stream_name, resolve_source
from streamwave.spool.broadcast import BroadcastSpool, open_session
from streamwave.spool.launch import start_segmenter, stop_segmenter
from streamwave.spool.segmenter import Options

log = logging.getLogger("streamwave.live")


def _name() -> str:
    parameters: dict[str, Any] = flow_run.parameters or {}
    if parameters.get("broadcast_spool"):
        folder = Path(parameters["broadcast_spool"])
        return f"{folder.parent.name} {folder.name}"
    return f"{parameters.get('stream')} by hand"


@flow(name="live-stream", flow_run_name=_name, persist_result=False)
def live_stream(
    broadcast_spool: str | None = None,
    source: str | None = None,
    stream: str | None = None,
    output: str | None = None,
) -> None:
    """Publish a live broadcast while it is being received, and its recording when it has ended.

    Args:
        broadcast_spool: Folder of a broadcast that is being received (the processing service starts runs with it).
        source: For a run by hand: the URL to read, for example rtmp://host/app/name or srt://host:port.
        stream: For a run by hand: the stream's public name.
        output: For a run by hand: root of the outputs; the setting OUTPUT_DIR without it.
    """
    settings = Settings.load()
    with contextlib.ExitStack() as stack:
        if broadcast_spool is not None:
            spool = BroadcastSpool(Path(broadcast_spool))
        elif source is not None and stream is not None:
            spool = stack.enter_context(_by_hand(settings, source, stream, output))
        else:
            raise UsageError("live-stream needs a broadcast_spool, or a source and a stream")
        _publish(spool, settings)


@contextlib.contextmanager
def _by_hand(settings: Settings, source: str, stream: str, output: str | None) -> Any:
    """Receive ``source`` ourselves, as one session of a broadcast of its own."""
    if not is_stream_name(stream):
        raise UsageError(f"{stream[:70]!r} cannot name a stream; use a-z, 0-9, - and _, at most 64 of them")
    url = resolve_source(source)
    spool, session = open_session(settings.spool_dir, stream, output=output or settings.output_url, window_ms=0)
    process = start_segmenter(
        Options(
            source=url,
            spool=session,
            segment_ms=int(settings.segment_seconds * 1000),
            audio_bps=load_ladder(settings.ladder).audio_kbps * 1000,
            audio_track=settings.audio_track - 1,
            live=not url.startswith("file:"),
            max_ahead=settings.max_chunks_in_flight + 8 if url.startswith("file:") else 0,
            spool_max_bytes=settings.spool_max_bytes,
        )
    )
    try:
        yield spool
    finally:
        stop_segmenter(process, graceful=False)
        if not spool.finished:
            finish_cut_off(spool, settings)


def _publish(spool: BroadcastSpool, settings: Settings) -> None:
    processes = launcher(settings.ffmpeg_slot_count)
    processes.reopen()
    with LiveBroadcast(spool, settings, run=str(flow_run.id)) as broadcast:
        windows = Windows(broadcast, settings, on_border=delete_windows)
        try:
            for job, record in broadcast.chunks(windows.check):
                windows.submit(job, record)
            windows.drain()
            broadcast.finish()
            sweep(settings)
        except BaseException:
            # Tasks may still be running in their threads: end their processes before the files below them go away.
            processes.close()
            windows.abandon()
            raise
