"""The pipeline without Prefect: chunks are transcoded concurrently in threads of this process, and stored in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Self

from streamwave.ffmpeg.process import launcher
from streamwave.manifest.packaged import PackagedChunk
from streamwave.model import ChunkRecord
from streamwave.pipeline.chunk import make, place, store
from streamwave.pipeline.job import Job

#: Interval between calls of ``on_wait``.
LOOK_S = 0.2


class ChunkThreads:
    """Runs all stages for chunks, ``limit`` chunks at a time. A context manager.

    The launcher of this process limits the number of concurrent FFmpeg processes. ``on_stored`` is called after each chunk,
    in order, in the thread that calls ``submit``, ``collect`` and ``drain``; ``on_wait`` is called repeatedly while these
    wait. If the body raises, chunks in flight are not stored; an interrupt also ends their FFmpeg processes.
    """

    def __init__(
        self, limit: int, on_stored: Callable[[], None] = lambda: None, on_wait: Callable[[], None] = lambda: None
    ) -> None:
        self._limit = limit
        self._on_stored, self._on_wait = on_stored, on_wait
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
        self.collect()
        while len(self._in_flight) >= self._limit:
            self._wait()
        made = self._making.submit(make, job, place(job, record))
        self._in_flight.append(self._storing.submit(_store, job, record.number, made))

    def collect(self) -> None:
        """Account for the chunks that have been stored. Raises the error of a chunk that failed."""
        while self._in_flight and self._in_flight[0].done():
            self._wait()

    def drain(self) -> None:
        """Wait until every chunk is stored. Raises the error of a chunk that failed."""
        while self._in_flight:
            self._wait()

    def _wait(self) -> None:
        while not wait([self._in_flight[0]], LOOK_S).done:
            self._on_wait()
        self._in_flight[0].result()
        self._in_flight.popleft()
        self._on_stored()


def _store(job: Job, number: int, made: Future[PackagedChunk]) -> None:
    made.result()
    store(job, number)
