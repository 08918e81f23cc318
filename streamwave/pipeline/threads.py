"""The pipeline without Prefect: chunks are made side by side in threads of this process, and stored in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from streamwave.ffmpeg.process import launcher
from streamwave.manifest.packaged import PackagedChunk
from streamwave.model import ChunkRecord
from streamwave.pipeline.chunk import make, place, store
from streamwave.pipeline.job import Job


class ChunkThreads:
    """Takes chunks through place, transcode, package and store, ``limit`` of them at once. A context manager.

    How many FFmpeg processes run at once, the launcher of this process says. ``on_stored`` is called after each chunk, in
    order, in the thread that calls ``submit`` and ``drain``. When the body raises, the chunks on their way are not stored; an
    interrupt ends their FFmpeg processes too.
    """

    def __init__(self, limit: int, on_stored: Callable[[], None] = lambda: None) -> None:
        self._limit = limit
        self._on_stored = on_stored
        self._making = ThreadPoolExecutor(limit, thread_name_prefix="chunk")
        self._storing = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._on_their_way: deque[Future[None]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and not issubclass(kind, Exception):
            launcher().close()
        self._making.shutdown(cancel_futures=True)
        self._storing.shutdown(cancel_futures=True)

    def submit(self, job: Job, record: ChunkRecord) -> None:
        """Send a chunk on its way; waits for earlier ones if too many are. Raises what became of an earlier one."""
        while self._on_their_way and (len(self._on_their_way) >= self._limit or self._on_their_way[0].done()):
            self._collect()
        made = self._making.submit(make, job, place(job, record))
        self._on_their_way.append(self._storing.submit(_store, job, record.number, made))

    def drain(self) -> None:
        """Wait until every chunk is stored. Raises what became of one that is not."""
        while self._on_their_way:
            self._collect()

    def _collect(self) -> None:
        self._on_their_way[0].result()
        self._on_their_way.popleft()
        self._on_stored()


def _store(job: Job, number: int, made: Future[PackagedChunk]) -> None:
    made.result()
    store(job, number)
