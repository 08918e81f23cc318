"""The pipeline without Prefect: chunks are transcoded concurrently in threads of this process, and stored in order."""

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
    """Runs all stages for chunks, ``limit`` chunks at a time. A context manager.

    The launcher of this process limits the number of concurrent FFmpeg processes. ``on_stored`` is called after each chunk,
    in order, in the thread that calls ``submit`` and ``drain``. If the body raises, chunks in flight are not stored; an
    interrupt also ends their FFmpeg processes.
    """

    def __init__(self, limit: int, on_stored: Callable[[], None] = lambda: None) -> None:
        self._limit = limit
        self._on_stored = on_stored
        self._making = ThreadPoolExecutor(limit, thread_name_prefix="chunk")
        self._storing = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._in_flight: deque[Future[None]] = deque()

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
        """Start a chunk, after waiting for earlier ones if the limit is reached. Raises the error of an earlier chunk."""
        while self._in_flight and (len(self._in_flight) >= self._limit or self._in_flight[0].done()):
            self._collect()
        made = self._making.submit(make, job, place(job, record))
        self._in_flight.append(self._storing.submit(_store, job, record.number, made))

    def drain(self) -> None:
        """Wait until every chunk is stored. Raises the error of a chunk that failed."""
        while self._in_flight:
            self._collect()

    def _collect(self) -> None:
        self._in_flight[0].result()
        self._in_flight.popleft()
        self._on_stored()


def _store(job: Job, number: int, made: Future[PackagedChunk]) -> None:
    made.result()
    store(job, number)
