"""Receives a source without the services: for runs that a person has started, and for the Python API."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streamwave.broadcasts.finalize import finish_cut_off
from streamwave.config.settings import Settings
from streamwave.ffmpeg.process import kill
from streamwave.pipeline.ladder import load_ladder
from streamwave.publish.queue import QUEUE_CHUNKS
from streamwave.receive.launch import start_segmenter, stop_segmenter
from streamwave.spool.broadcast import BroadcastSpool, open_session
from streamwave.spool.ending import end_journal
from streamwave.spool.journal import writer_alive
from streamwave.spool.options import Options
from streamwave.spool.remote.exchange import clear, exchanging
from streamwave.spool.remote.replica import replica
from streamwave.storage.address import is_address


class Receiver:
    """The segmenter of one session. ``stop`` may be called from any thread, even before it has started."""

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
        elif self._session.is_dir():  # it is still starting, and has received nothing
            kill(self._process)
            end_journal(self._session, "stopped", None)

    def close(self) -> None:
        """End the segmenter, if it is still running."""
        if self._process is not None:
            stop_segmenter(self._process, graceful=False)


@contextmanager
def receiving(
    receiver: Receiver,
    settings: Settings,
    url: str,
    stream: str,
    output: str,
    *,
    title: str = "",
    source_hosts: tuple[str, ...] | None = None,
) -> Iterator[BroadcastSpool]:
    """Receive the resolved source ``url`` as the only session of a new broadcast below ``output``.

    If the body leaves the broadcast unfinished, it is cut off, and what is published becomes the recording.

    Raises:
        SpoolError: another owner receives ``stream``, or its name is not allowed.
    """
    spool, session = open_session(
        settings.spool_dir, stream, output=output, window_ms=0, title=title, remote=settings.spool_url or ""
    )
    try:
        receiver.start(
            Options.from_settings(
                settings,
                url,
                session,
                audio_kbps=load_ladder(settings.ladder).audio_kbps,
                source_hosts=source_hosts,
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


def end_killed(spool: BroadcastSpool) -> None:
    """End the journals of a killed run, after adding the chunks that it had received but not yet journaled.

    Raises:
        OSError: the spool cannot be written.
    """
    for session in spool.sessions():
        end_journal(
            session, "killed", "the run was killed; everything that it had received is published", as_last_written=True
        )
