"""Receives a source within the flow run, for runs that a person has started instead of the services."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect.context import FlowRunContext
from pydantic import SecretStr

from flows.caller import caller
from flows.reach import check_output, file_roots
from streamwave.broadcasts.finalize import finish_cut_off
from streamwave.config.settings import Settings
from streamwave.errors import UsageError
from streamwave.ffmpeg.process import kill
from streamwave.pipeline.ladder import load_ladder
from streamwave.publish.queue import QUEUE_CHUNKS
from streamwave.receive.launch import start_segmenter, stop_segmenter
from streamwave.sources.address import check_stream_name, resolve_source
from streamwave.sources.hosts import check_host
from streamwave.spool.broadcast import BroadcastSpool, open_session
from streamwave.spool.ending import end_journal
from streamwave.spool.journal import writer_alive
from streamwave.spool.options import Options
from streamwave.spool.remote.exchange import clear, exchanging
from streamwave.spool.remote.replica import replica
from streamwave.storage.address import is_address

#: Prefix of a source that is the name of a Prefect Secret block, which holds the address.
BLOCK = "secret:"


def source_hosts(settings: Settings) -> tuple[str, ...] | None:
    """The non-public hosts that this run's source may be on; None (every host) for a run of the command line.

    The source of a deployment's run comes from a user of Prefect's API, so it is restricted.
    """
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    return settings.source_hosts if run is not None and run.deployment_id is not None else None


class Receiver:
    """The segmenter of one session. ``stop`` may be called before it has started."""

    def __init__(self) -> None:
        self._session = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self._asked = False

    def start(self, options: Options) -> None:
        """Start the segmenter."""
        self._session = options.spool
        self._process = start_segmenter(options)
        if self._asked:
            self.stop()

    def stop(self) -> None:
        """Stop receiving after the data that has already arrived. Does not wait; the journal's end record follows."""
        self._asked = True
        if self._process is None:
            return  # `start` calls this again
        if writer_alive(self._session):
            self._process.terminate()
        else:  # it is still starting, and has received nothing
            kill(self._process)
            end_journal(self._session, "stopped", None)

    def close(self) -> None:
        """End the segmenter, if it is still running."""
        if self._process is not None:
            stop_segmenter(self._process, graceful=False)


@contextmanager
def receiving(settings: Settings, source: SecretStr, stream: str, output: str | None) -> Iterator[BroadcastSpool]:
    """Receive ``source`` as the only session of a new broadcast.

    Raises:
        UsageError: the stream's name or the output is not allowed.
        SourceError: the source is not allowed.
    """
    check_stream_name(stream)
    url = resolve_source(_address(source), file_roots(settings))
    root = check_output(output, settings)
    hosts = source_hosts(settings)
    if hosts is not None:
        check_host(url, hosts)
    receiver = Receiver()
    caller().on_receiving(receiver.stop)
    spool, session = open_session(
        settings.spool_dir,
        stream,
        output=root,
        window_ms=0,
        remote=settings.spool_url or "",
    )
    try:
        receiver.start(
            Options.from_settings(
                settings,
                url,
                session,
                audio_kbps=load_ladder(settings.ladder).audio_kbps,
                source_hosts=hosts,
            )
        )
        yield spool
    finally:
        receiver.close()
        if not spool.finished:
            finish_cut_off(spool, settings)
            if spool.info().spool:
                clear(spool, settings.spool_options)


@contextmanager
def spool_at(place: Path | str, settings: Settings) -> Iterator[BroadcastSpool]:
    """The spool to publish from: a replica of the one at an address, or a folder on this machine.

    If that folder is the receiving side of a spool in a store, its exchange with the store runs here too.

    Raises:
        SpoolError: there is no broadcast at ``place``.
        OutputError: the store refused.
    """
    if is_address(str(place)):
        with replica(str(place), settings, queued=QUEUE_CHUNKS) as spool:
            yield spool
        return
    here = BroadcastSpool(Path(place))
    url = here.info().spool
    if not url:
        yield here
        return
    with exchanging(here, settings.spool_options), replica(url, settings, queued=QUEUE_CHUNKS) as spool:
        yield spool


def _address(source: SecretStr) -> str:
    """The source's address, read from a Secret block if ``source`` is the name of one.

    Raises:
        UsageError: there is no such block, or its value is not text.
    """
    said = source.get_secret_value()
    if not said.startswith(BLOCK):
        return said
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    name = said.removeprefix(BLOCK)
    try:
        with get_client(sync_client=True) as client:
            # Read only the text: loading a block would create an object of a class that the server chooses.
            kept: Any = client.read_block_document_by_name(name, "secret").data.get("value")
    except ObjectNotFound:
        raise UsageError(f"Prefect has no Secret block {name[:70]!r}; create one with the source's address") from None
    if not isinstance(kept, str):
        raise UsageError(f"the value of the Secret block {name[:70]!r} is not text; it must be the source's address")
    return kept
