"""Live sources: received and published by this process, without Prefect."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from streamwave.api.broadcasts import Broadcast, open_broadcast
from streamwave.api.status import Status, read_status
from streamwave.config.settings import Settings
from streamwave.errors import IncompleteError, SourceError, StreamWaveError, UsageError
from streamwave.ffmpeg.process import launcher
from streamwave.pipeline.ladder import load_ladder
from streamwave.pipeline.live import LiveBroadcast, OnWait
from streamwave.pipeline.messages import left
from streamwave.pipeline.receiving import Receiver, end_killed, receiving, spool_at
from streamwave.pipeline.threads import ChunkThreads
from streamwave.retention.janitor import clean_spool
from streamwave.sources.address import check_stream_name, checked_title, resolve_source
from streamwave.spool.broadcast import BroadcastSpool, abandoned
from streamwave.spool.remote.objects import check_spool
from streamwave.state.folders import close_state
from streamwave.storage.outputs import check_outputs, outputs

log = logging.getLogger("streamwave.live")


class Live:
    """A live source and the stream that it becomes. ``open_live`` makes one; nothing happens before ``publish``.

    All methods may be called from any thread.

    Attributes:
        path: Where the broadcast is below the output, ``stream/broadcast``; None before it is received.
    """

    def __init__(self, source: str, stream: str, output: str, title: str, settings: Settings) -> None:
        self._source, self._stream, self._output, self._title = source, stream, output, title
        self._settings = settings
        self._receiver = Receiver()
        self._hurry: Callable[[], None] | None = None
        self._spool: BroadcastSpool | None = None
        self._told = Status()
        self._path: str | None = None
        self._begun, self._done = threading.Lock(), threading.Event()

    def publish(self) -> Broadcast:
        """Receive the source and publish it as it arrives, until it ends or ``stop`` is called.

        Publishes in this process, like ``transcode``; the segmenter runs in a separate process. All that has arrived is
        published, then the recording is completed. An exception, ``KeyboardInterrupt`` too, ends it at once: what is
        published by then becomes the recording. If the process is killed, the next call for the same stream, or ``streamwave
        run``, first completes what it had received.

        Returns:
            The recording; with STREAMWAVE_RECORD=false, its last part.

        Raises:
            SourceError: The source cannot be read, or nothing was received.
            SpoolError: Somebody else is publishing this stream, or the spool cannot be written.
            OutputError: No output could be written for STREAMWAVE_OUTPUT_PATIENCE_S seconds.
            IncompleteError: Published completely, but not to every output.
            UsageError: ``publish`` has already been called.

        Examples:
            >>> import threading
            >>> settings = streamwave.Settings.load(segment_seconds=1, preset="ultrafast", ladder=own)
            >>> live = streamwave.open_live("talk.mp4", "hall", settings=settings)
            >>> thread = threading.Thread(target=live.publish)
            >>> thread.start()
            >>> *_, last = live.follow()
            >>> last.state, last.chunks, last.lag_ms
            ('finished', 4, 0)
            >>> thread.join()
            >>> recording = streamwave.open_broadcast(live.path)
            >>> recording.state, recording.verify().renditions["small"].samples
            ('recorded', 100)
        """
        if not self._begun.acquire(blocking=False):
            raise UsageError("this live source is published already; open_live makes another one")
        try:
            left_behind = self._publish()
        except BaseException as error:
            self._told = replace(self.status(), state="failed", error=str(error) or type(error).__name__)
            raise
        finally:
            self._done.set()
        if left_behind:
            faults = [left(url, why, self.path or "") for url, why in left_behind.items()]
            raise IncompleteError("; ".join(faults), tuple(left_behind))
        return open_broadcast(self.path or "", output=self._output, settings=self._settings)

    def stop(self) -> None:
        """Stop receiving: what has arrived is still published. Returns at once; ``publish`` returns when that is done.

        Called while the recording is complete at one output and others are waited for, it ends that waiting.
        """
        (self._hurry or self._receiver.stop)()

    @property
    def path(self) -> str | None:
        """See the class."""
        return self._path

    def status(self) -> Status:
        """The current status."""
        spool = self._spool
        told = self._told if spool is None else read_status(spool.status(), finished=spool.finished)
        return told if spool is self._spool else self._told  # its folder may have gone meanwhile

    def follow(self, *, poll_s: float = 0.5) -> Iterator[Status]:
        """Yield the status whenever that changes, until ``publish`` ends: the last one is "finished" or "failed".

        Args:
            poll_s: Polling interval in seconds.
        """
        before = None
        while True:
            done = self._done.is_set()
            told = self.status()
            if told != before:
                yield told
            if done:
                return
            before = told
            self._done.wait(poll_s)

    def _publish(self) -> dict[str, str]:
        """Receive and publish. Returns the outputs that are incomplete, and why."""
        settings = self._settings
        close_state(settings, make=True)
        for fault in check_outputs(self._output, settings.s3_options):
            log.warning("%s; the other outputs are written to meanwhile", fault)
        check_spool(settings.spool_url, settings.spool_options)
        launcher(settings.ffmpeg_slot_count).reopen()
        for killed in abandoned(settings.spool_dir, self._stream, self._output, settings.spool_url or ""):
            try:
                end_killed(killed)
                # Do not wait for an output that is behind: the new broadcast comes first.
                _publish_spool(killed.folder, settings, lambda news, hurry: hurry())
            except (StreamWaveError, OSError) as error:
                log.warning("%s/%s stays incomplete for now: %s", killed.stream, killed.broadcast, error)
        with receiving(
            self._receiver, settings, self._source, self._stream, self._output, title=self._title
        ) as received:
            self._path = f"{received.stream}/{received.broadcast}"
            broadcast = _publish_spool(received.folder, settings, self._on_wait, self._watched)
        if broadcast.job is None:
            raise SourceError(broadcast.trouble or "nothing was received")
        clean_spool(settings.spool_dir)
        return broadcast.left_behind

    @contextmanager
    def _watched(self, spool: BroadcastSpool) -> Iterator[None]:
        """Let ``status`` read the status in ``spool``, and afterwards return the last one."""
        self._spool = spool
        try:
            yield
        finally:
            self._told, self._spool = self.status(), None

    def _on_wait(self, news: str, hurry: Callable[[], None]) -> None:
        self._hurry = hurry


def _publish_spool(
    folder: Path,
    settings: Settings,
    on_wait: OnWait,
    watched: Callable[[BroadcastSpool], AbstractContextManager[object]] = nullcontext,
) -> LiveBroadcast:
    """Publish the spool in ``folder`` with threads of this process."""
    with (
        spool_at(folder, settings) as spool,
        watched(spool),
        LiveBroadcast(spool, settings, run=f"process {os.getpid()}") as broadcast,
    ):
        pulse = broadcast.status.pulse
        with ChunkThreads(settings.max_chunks_in_flight, broadcast.stored, pulse) as threads:

            def tick() -> None:
                threads.collect()
                pulse()

            for job, record in broadcast.chunks(tick):
                threads.submit(job, record)
            threads.drain()
        broadcast.finish(on_wait)
    return broadcast


def open_live(
    source: str | os.PathLike[str],
    stream: str,
    output: str | os.PathLike[str] | None = None,
    *,
    title: str = "",
    settings: Settings | None = None,
) -> Live:
    """Prepare to receive a live source and publish it as a broadcast of ``stream``, as ``streamwave run`` does.

    Args:
        source: A URL that is pulled (http, https, rtmp, rtmps, srt) or, for SRT with ``mode=listener``, waits for its
            publisher; or a file, which is published as fast as it can be transcoded.
        stream: The stream's public name: a-z, 0-9, - and _.
        output: Folder or address of all outputs, or several with commas between them; the broadcast is in
            ``stream/broadcast`` below it. Default: the setting OUTPUT_DIR.
        title: Its title. Default: the stream's name.
        settings: Default: read from the environment and ``.env``.

    Raises:
        UsageError: The source, the stream's name, the title, the output or the ladder cannot be used.

    Examples:
        >>> live = streamwave.open_live("srt://0.0.0.0:9000?mode=listener", "studio")
        >>> live.path is None, live.status().state
        (True, 'starting')
    """
    settings = settings or Settings.load()
    check_stream_name(stream)
    root = settings.output_url if output is None else os.fspath(output)
    outputs(root)
    load_ladder(settings.ladder)
    return Live(resolve_source(os.fspath(source)), stream, root, checked_title(title), settings)
