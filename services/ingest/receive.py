"""Receiving one publish: its place in the spool and the segmenter process that fills it. Calls block."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from services.ingest.log import events
from streamwave.config.settings import Settings
from streamwave.errors import SpoolError
from streamwave.ffmpeg.process import kill
from streamwave.pipeline.ladder import load_ladder
from streamwave.receive.launch import start_segmenter
from streamwave.spool.broadcast import open_session
from streamwave.spool.ending import end_journal
from streamwave.spool.journal import CONTINUED, LOCK, end_of, following_folder, writer_alive, writer_pid
from streamwave.spool.options import Options
from streamwave.spool.quota import check_share
from streamwave.spool.stop import STOP_LIMIT_S, request_stop
from streamwave.streams.registry import Stream
from streamwave.util.locks import signal_holder
from streamwave.util.waiting import wait_until

#: Name of the ingest service among those who receive streams.
OWNER = "ingest"


class Receiver:
    """Starts and ends segmenters; they survive this process, and another instance of it can end them.

    A thread waits for each one that was started here, so that none stays behind as a zombie.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def place(self, stream: Stream) -> Path:
        """A folder for a new session of ``stream``.

        Raises:
            StreamLiveError: the processing service, or a run by hand, receives this stream.
            LimitError: its share of the spool is full.
            SpoolError: the spool can't be written to.
        """
        try:
            check_share(self._settings.spool_dir, stream.name, self._settings.stream_limits)
            return open_session(
                self._settings.spool_dir,
                stream.name,
                output=self._settings.output_url,
                window_ms=self._settings.reconnect_window_s * 1000,
                title=stream.title,
                owner=OWNER,
                remote=self._settings.spool_url or "",
            )[1]
        except OSError as error:
            raise SpoolError(
                f"the spool {self._settings.spool_dir} cannot be written ({error.strerror}); "
                f"check {self._settings.spool_dir_variable}"
            ) from None

    def rtmp_source(self, stream: str, publish_id: str) -> str:
        """Where the segmenter pulls a publish; the id lets the play hook recognise it."""
        return f"{self._settings.rtmp_url.rstrip('/')}/{stream}?publish={publish_id}"

    def start(
        self, source: str, folder: Path, ended: Callable[[], None], *, renewable: bool = False, pictures: bool = False
    ) -> subprocess.Popen[bytes]:
        """Receive ``source`` into ``folder``; ``ended`` is called, from a thread, when the segmenter has exited.

        ``renewable``: it may end because another broadcast has to begin. ``pictures``: there are some, sooner or later.

        Raises:
            SpoolError: it can't be started.
        """
        options = Options.from_settings(
            self._settings,
            source,
            folder,
            audio_kbps=load_ladder(self._settings.ladder).audio_kbps,
            renewable=renewable,
            await_pictures=pictures,
            # A publish comes from our own RTMP server.
            source_hosts=None if renewable else self._settings.source_hosts,
        )
        try:
            process = start_segmenter(options, survive=True)
        except OSError as error:
            raise SpoolError(f"the segmenter cannot be started ({error.strerror}); see the spool {folder}") from None

        def reap() -> None:
            process.wait()
            ended()

        threading.Thread(target=reap, name=f"reap {process.pid}", daemon=True).start()
        return process


def newest(folder: Path) -> Path:
    """The session that what is received into ``folder`` has become, where its pictures have changed on the way."""
    while (end := end_of(folder)) is not None and end.reason == CONTINUED and following_folder(folder).is_dir():
        folder = following_folder(folder)
    return folder


def stop(folder: Path, process: subprocess.Popen[bytes] | None = None) -> None:
    """End what receives into ``folder``, so that its journal gets its end record; returns when that is there.

    ``process`` is given for one that may not have taken its lock yet.
    """
    if process is not None and process.poll() is None and not writer_alive(folder):
        # It has received nothing.
        kill(process)
    request_stop(folder)
    if not wait_until(lambda: not writer_alive(folder), STOP_LIMIT_S + 5, step_s=0.1):
        pid = writer_pid(folder)
        if pid is not None:
            events.warning("segmenter killed", why="it did not end when asked to", session=folder, pid=pid)
            signal_holder(pid, folder / LOCK, signal.SIGKILL)
            wait_until(lambda: not writer_alive(folder), 2)
    seal(newest(folder), "the segmenter died")


def seal(folder: Path, error: str) -> None:
    """Give the journal of a session that nobody writes an end record, dated to when it was last written."""
    if not folder.is_dir():
        return
    try:
        end_journal(folder, "cut off", error, as_last_written=True)
    except OSError as failure:
        events.error("journal not ended", session=folder, why=failure.strerror)


def created_ms(folder: Path) -> int:
    """When the segmenter of a session began, in ms of Unix time."""
    # The lock file is written once, when the segmenter starts.
    try:
        return (folder / LOCK).stat().st_mtime_ns // 1_000_000
    except OSError:
        return time.time_ns() // 1_000_000
