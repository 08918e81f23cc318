"""live-stream: the flow of one broadcast, from its first chunk until its recording is complete.

Every few minutes of stream are a child flow run (a window), which Prefect's UI can draw and upkeep can delete, so that the
number of task runs per flow run stays bounded. Windows overlap: while one waits for its last chunks, the next one already
takes new chunks, so that nothing is delayed at the border.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.exceptions import TerminationSignal as TerminationSignal  # what SIGTERM raises in a flow run
from prefect.runtime import flow_run
from pydantic import SecretStr

from flows.by_hand import received_by_hand
from flows.caller import caller
from flows.reach import check_spool
from flows.results import refuse_stored_results
from flows.upkeep import delete_windows, sweep
from flows.windows import Windows
from streamwave.config.settings import Settings
from streamwave.errors import IncompleteError, SourceError, UsageError
from streamwave.ffmpeg.process import launcher
from streamwave.pipeline.live import LiveBroadcast
from streamwave.pipeline.messages import left
from streamwave.pipeline.receiving import spool_at
from streamwave.state.folders import close_state
from streamwave.util.private import begin

refuse_stored_results()
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
    source: SecretStr | None = None,
    stream: str | None = None,
    output: str | None = None,
) -> None:
    """Publish a live broadcast while it is being received, and its recording when it has ended.

    Args:
        broadcast_spool: Spool of a broadcast that is being received: a folder, or an address in a store. Set by the
            processing service.
        source: For a manual run: the URL to read, such as srt://host:port. Prefect shows it to everyone who can see the run;
            if it contains a key or a password, store it in a Secret block and give secret:NAME-OF-THE-BLOCK.
        stream: For a manual run: the stream's public name.
        output: For a manual run: root of the outputs; an output of the setting OUTPUT_DIR, or a folder in one. Default: that
            setting.

    Raises:
        UsageError: a parameter is outside of what the settings allow (see ``flows.reach``).
        IncompleteError: a manual run has published everything, but some outputs lack a part of it.
    """
    begin()
    settings = Settings.load()
    close_state(settings, make=True)
    if broadcast_spool is not None:
        _publish(check_spool(broadcast_spool, settings), settings)
    elif source is not None and stream is not None:
        with received_by_hand(settings, source, stream, output) as spool:
            broadcast = _publish(spool.folder, settings)
        if broadcast.job is None:
            raise SourceError(broadcast.trouble or "nothing was received")
        if broadcast.left_behind:
            path = f"{spool.stream}/{spool.broadcast}"
            faults = [left(url, why, path) for url, why in broadcast.left_behind.items()]
            raise IncompleteError("; ".join(faults), tuple(broadcast.left_behind))
    else:
        raise UsageError("live-stream needs a broadcast_spool, or a source and a stream")


def _publish(place: Path | str, settings: Settings) -> LiveBroadcast:
    processes = launcher(settings.ffmpeg_slot_count)
    processes.reopen()
    with (
        spool_at(place, settings) as spool,
        LiveBroadcast(spool, settings, run=str(flow_run.id)) as broadcast,
    ):
        windows = Windows(broadcast, settings, on_border=delete_windows)
        try:
            for job, record in broadcast.chunks(windows.check):
                windows.submit(job, record)
            windows.drain()
            broadcast.finish(caller().on_wait)
            sweep(settings)
        except BaseException:
            # Tasks may still be running in threads: end their FFmpeg processes before their files are deleted.
            processes.close()
            windows.abandon()
            raise
    return broadcast
