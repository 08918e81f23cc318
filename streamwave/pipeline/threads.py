"""The pipeline without Prefect: chunks are made side by side in threads of this process, and stored in order."""

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

#: How often ``on_wait`` is called.
LOOK_S = 0.2


class ChunkThreads:
    """Takes chunks through place, transcode, package and store, ``limit`` of them at once. A context manager.

    How many FFmpeg processes run at once, the launcher of this process says. ``on_stored`` is called after each chunk, in
    order, in the thread that calls ``submit``, ``collect`` and ``drain``; ``on_wait`` again and again while these wait. When
    the body raises, the chunks on their way are not stored; an interrupt ends their FFmpeg processes too.
    """

    def __init__(
        self, limit: int, on_stored: Callable[[], None] = lambda: None, on_wait: Callable[[], None] = lambda: None
    ) -> None:
        self._limit = limit
        self._on_stored, self._on_wait = on_stored, on_wait
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
        self.collect()
        while len(self._on_their_way) >= self._limit:
            self._wait()
        made = self._making.submit(make, job, place(job, record))
        self._on_their_way.append(self._storing.submit(_store, job, record.number, made))

    def collect(self) -> None:
        """Note the chunks that are stored by now. Raises what became of one that could not be."""
        while self._on_their_way and self._on_their_way[0].done():
            self._wait()

    def drain(self) -> None:
        """Wait until every chunk is stored. Raises what became of one that is not."""
        while self._on_their_way:
            self._wait()

    def _wait(self) -> None:
        while not wait([self._on_their_way[0]], LOOK_S).done:
            self._on_wait()
        self._on_their_way[0].result()
        self._on_their_way.popleft()
        self._on_stored()


def _store(job: Job, number: int, made: Future[PackagedChunk]) -> None:
    made.result()
    store(job, number)
