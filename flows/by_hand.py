"""Receiving a source ourselves, for a run that a person has started and not the services."""

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

#: A source that begins so names a Secret block of Prefect, which holds the address.
BLOCK = "secret:"


def source_hosts(settings: Settings) -> tuple[str, ...] | None:
    """The hosts besides public ones that this run's source may be at; None (every host) where it is the command line's own.

    A run of a deployment has its source from whoever may use Prefect's API.
    """
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    return settings.source_hosts if run is not None and run.deployment_id is not None else None


class Receiver:
    """The segmenter of one session, which may be asked to end before it has begun."""

    def __init__(self) -> None:
        self._session = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self._asked = False

    def start(self, options: Options) -> None:
        """Begin to receive."""
        self._session = options.spool
        self._process = start_segmenter(options)
        if self._asked:
            self.stop()

    def stop(self) -> None:
        """Take in what has arrived, and nothing more. Returns at once; the journal's end record says when it is done."""
        self._asked = True
        if self._process is None:
            return  # it is ended as soon as it is there
        if writer_alive(self._session):
            self._process.terminate()
        else:  # it is still loading, and has received nothing
            kill(self._process)
            end_journal(self._session, "stopped", None)

    def close(self) -> None:
        """No process is left."""
        if self._process is not None:
            stop_segmenter(self._process, graceful=False)


@contextmanager
def receiving(settings: Settings, source: SecretStr, stream: str, output: str | None) -> Iterator[BroadcastSpool]:
    """Receive ``source`` as one session of a broadcast of its own.

    Raises:
        UsageError: the stream's name or the output is not allowed.
        SourceError: the source is not.
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
    """The spool to publish from, for the time of a run: at an address, or in a folder of this machine.

    If that folder is what this machine receives of a broadcast whose spool is in a store, it is looked after meanwhile.

    Raises:
        SpoolError: there is no broadcast.
        OutputError: the store refuses.
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
    """The source's address, which Prefect keeps where ``source`` is the name of a Secret block.

    Raises:
        UsageError: there is no such block, or it holds no text.
    """
    said = source.get_secret_value()
    if not said.startswith(BLOCK):
        return said
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    name = said.removeprefix(BLOCK)
    try:
        with get_client(sync_client=True) as client:
            # Its text alone: a block that is loaded is an object of whatever class the server says.
            kept: Any = client.read_block_document_by_name(name, "secret").data.get("value")
    except ObjectNotFound:
        raise UsageError(
            f"Prefect has no Secret block {name[:70]!r}; make one that holds the source's address"
        ) from None
    if not isinstance(kept, str):
        raise UsageError(f"the Secret block {name[:70]!r} holds no text; it must hold the source's address")
    return kept
