"""The segmenter processes that receive publishes into the spool."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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

#: The ingest service's name as the owner of broadcasts in the spool.
OWNER = "ingest"
#: Threads that wait for segmenters to end, so that many publishers who leave at once do not delay other calls.
STOP_THREADS = 32


class Segmenters:
    """Starts and stops segmenters. They survive this process, and its next start can stop them.

    Methods block and may be called from any thread, except for ``stop``, which is a coroutine.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._running: dict[Path, subprocess.Popen[bytes]] = {}  # started by this process, by session folder
        self._stopping = ThreadPoolExecutor(STOP_THREADS, thread_name_prefix="stop")

    def create_session(self, stream: Stream) -> Path:
        """Create the folder of a new session of ``stream``.

        Raises:
            StreamLiveError: the processing service or a manually started run receives this stream.
            LimitError: the stream's share of the spool is full.
            SpoolError: the spool cannot be written.
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

    def start(
        self, source: str, folder: Path, exited: Callable[[], None], *, renewable: bool = False, pictures: bool = False
    ) -> subprocess.Popen[bytes]:
        """Start a segmenter that receives ``source`` into ``folder``; a thread calls ``exited`` when the process has exited.

        ``renewable``: the segmenter may end to have the publish continue in another broadcast. ``pictures``: the source
        has video, even if it begins late.

        Raises:
            SpoolError: the process cannot be started.
        """
        options = Options.from_settings(
            self._settings,
            source,
            folder,
            audio_kbps=load_ladder(self._settings.ladder).audio_kbps,
            renewable=renewable,
            await_pictures=pictures,
            # A publish is pulled from our own RTMP server, which is always allowed.
            source_hosts=None if renewable else self._settings.source_hosts,
        )
        try:
            process = start_segmenter(options, survive=True)
        except OSError as error:
            raise SpoolError(f"the segmenter cannot be started ({error.strerror}); see the spool {folder}") from None
        self._running[folder] = process

        def reap() -> None:
            process.wait()
            self._running.pop(folder, None)
            exited()

        threading.Thread(target=reap, name=f"reap {process.pid}", daemon=True).start()
        return process

    def receiving(self, folder: Path) -> bool:
        """Whether a segmenter receives into ``folder``, even one that has not taken its lock yet."""
        return folder in self._running or writer_alive(folder)

    async def stop(self, folder: Path, process: subprocess.Popen[bytes] | None = None) -> None:
        """Run ``stop_session`` in a thread of a separate pool."""
        await asyncio.get_running_loop().run_in_executor(self._stopping, stop_session, folder, process)

    def close(self) -> None:
        """Stop waiting for segmenters; they keep running."""
        self._stopping.shutdown(wait=False, cancel_futures=True)


def rtmp_source(settings: Settings, stream: str, publish_id: str) -> str:
    """The URL from which the segmenter pulls a publish; the play hook recognises the id in it."""
    return f"{settings.rtmp_url.rstrip('/')}/{stream}?publish={publish_id}"


def newest_session(folder: Path) -> Path:
    """The last session of the chain that starts in ``folder``: a change of the video parameters starts a new one."""
    while (end := end_of(folder)) is not None and end.reason == CONTINUED and following_folder(folder).is_dir():
        folder = following_folder(folder)
    return folder


def stop_session(folder: Path, process: subprocess.Popen[bytes] | None = None) -> None:
    """End the segmenter that receives into ``folder``; return once the journal has its end record.

    Pass ``process`` if the segmenter may not have taken its lock yet.
    """
    if process is not None and process.poll() is None and not writer_alive(folder):
        # Without its lock, the segmenter has received nothing.
        kill(process)
    request_stop(folder)
    if not wait_until(lambda: not writer_alive(folder), STOP_LIMIT_S + 5, step_s=0.1):
        pid = writer_pid(folder)
        if pid is not None:
            events.warning("segmenter killed", why="it ignored the request to stop", session=folder, pid=pid)
            signal_holder(pid, folder / LOCK, signal.SIGKILL)
            wait_until(lambda: not writer_alive(folder), 2)
    seal(newest_session(folder), "the segmenter died")


def seal(folder: Path, error: str) -> None:
    """Append the end record to a journal that no segmenter writes any more, dated to the last write."""
    if not folder.is_dir():
        return
    try:
        end_journal(folder, "cut off", error, as_last_written=True)
    except OSError as failure:
        events.error("journal without end record", session=folder, why=failure.strerror)


def started_ms(folder: Path) -> int:
    """When the segmenter of a session started, in milliseconds of Unix time; now if that is not known."""
    try:
        # The segmenter writes its lock file once, when it starts.
        return (folder / LOCK).stat().st_mtime_ns // 1_000_000
    except OSError:
        return time.time_ns() // 1_000_000
