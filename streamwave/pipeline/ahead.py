"""Transcodes the first chunks of a file before the flow run that they belong to exists.

Prefect takes seconds to start. Meanwhile the cores are idle, so the command line opens the session, and hands it to the flow
when that runs: every task run finds its chunk's transcode under way or done, and takes the outcome as its own first attempt.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, suppress
from types import TracebackType
from typing import Self

from streamwave.errors import MediaError
from streamwave.ffmpeg.process import launcher
from streamwave.model import ChunkRecord
from streamwave.pipeline.chunk import place, transcode_ahead
from streamwave.pipeline.job import Job
from streamwave.pipeline.vod import FileSession


class HeadStart:
    """A session whose chunks are transcoded from now on, at most ``limit`` of them until ``chunks`` is called.

    A context manager, which closes the session when it is left for the first time. If that is by an exception, the FFmpeg
    processes of the launcher have ended before.
    """

    def __init__(self, opening: AbstractContextManager[FileSession], limit: int) -> None:
        self._limit = limit
        self._taken_over = threading.Event()
        self._chunks: queue.SimpleQueue[tuple[Job, ChunkRecord] | Exception | None] = queue.SimpleQueue()
        self._stack = ExitStack()
        self.session = self._stack.enter_context(opening)
        # On exit in reverse order: what runs here must end before its files are deleted.
        self._pool = self._stack.enter_context(ThreadPoolExecutor(limit, thread_name_prefix="ahead"))
        self._stack.push(self._stop)
        self._reader = threading.Thread(target=self._read, name="ahead", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _stop(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            launcher().close()
        self.session.closing = True
        self._reader.join()

    def chunks(self) -> Iterator[tuple[Job, ChunkRecord]]:
        """Take over: yield all chunks of the session, like its own ``chunks``. No further ones are transcoded here."""
        self._taken_over.set()
        while (item := self._chunks.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item

    def _read(self) -> None:
        begun = 0
        try:
            for job, record in self.session.chunks():
                if begun < self._limit and not self._taken_over.is_set() and job.video_renditions:
                    begun += 1
                    with suppress(MediaError):  # the task that places the chunk reports it
                        self._pool.submit(transcode_ahead(job, place(job, record)))
                self._chunks.put((job, record))
            self._chunks.put(None)
        except Exception as error:
            self._chunks.put(error)
