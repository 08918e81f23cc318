"""The DAG of one chunk, and how many chunks may be on their way at once."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from prefect import unmapped
from prefect.futures import PrefectFuture

from streamwave.model import ChunkRecord
from streamwave.pipeline.job import Job
from tasks import package, segment, store, transcode


class InFlight:
    """Bounds the chunks that are not yet stored, over all pipelines of a run, and links each chunk to the one before."""

    def __init__(self, limit: int) -> None:
        self.room = threading.BoundedSemaphore(limit)
        self.last: Sequence[PrefectFuture[Any]] = ()


class ChunkPipeline:
    """Submits *segment → transcode × renditions → package → store* for every chunk, in order.

    package and store of a chunk wait for those of the chunk before. ``on_stored`` is called in the flow's thread after
    each chunk, in order.
    """

    def __init__(self, in_flight: InFlight, on_stored: Callable[[], None] = lambda: None) -> None:
        self._in_flight = in_flight
        self._on_stored = on_stored
        self._on_their_way: dict[int, Sequence[PrefectFuture[Any]]] = {}  # a chunk's futures by the id of its last
        self._done: queue.SimpleQueue[PrefectFuture[Any]] = queue.SimpleQueue()
        self._transcode = transcode

    def submit(self, job: Job, record: ChunkRecord) -> None:
        """Send a chunk on its way; waits for earlier ones if too many are.

        Raises what a task of an earlier chunk raised after its retries.
        """
        self.collect()
        while not self._in_flight.room.acquire(timeout=0.05):
            self.collect()
        if self._transcode.retries != job.retries:
            self._transcode = transcode.with_options(retries=job.retries)
        # The chunk itself, not its future: for each parameter that is one, Prefect asks its server for the state before
        # the task starts. That costs more than the task, and waits for as long as the server is away.
        segmented: Any = segment.submit(job, record)
        chunk = segmented.result()
        made = self._transcode.map(unmapped(job), unmapped(chunk), list(job.renditions))
        packaged: Any = package.submit(
            job=job, chunk=chunk, wait_for=[*made, *self._in_flight.last[:1]], return_state=False
        )
        stored = store.submit(
            job=job, number=record.number, wait_for=[packaged, *self._in_flight.last[1:]], return_state=False
        )
        self._in_flight.last = (packaged, stored)
        self._on_their_way[id(stored)] = (segmented, *made, packaged, stored)
        stored.add_done_callback(self._finished)

    def _finished(self, stored: PrefectFuture[Any]) -> None:
        self._in_flight.room.release()
        self._done.put(stored)

    def collect(self, timeout_s: float = 0) -> None:
        """Take note of the chunks that have been stored, or failed, waiting up to ``timeout_s`` for one.

        Raises what a task of one of them raised.
        """
        while self._on_their_way:
            try:
                stored = self._done.get(block=timeout_s > 0, timeout=timeout_s or None)
            except queue.Empty:
                return
            timeout_s = 0
            try:
                stored.result()
            except Exception as error:
                raise self._cause() or error from None
            del self._on_their_way[id(stored)]
            self._on_stored()

    def _cause(self) -> BaseException | None:
        """What the first task raised that failed; those that depend on it only say that they were not ready."""
        for futures in self._on_their_way.values():
            for future in futures:
                try:
                    outcome = future.result(timeout=0, raise_on_failure=False)
                except Exception:  # it has not ended, or was not ready
                    continue
                if isinstance(outcome, BaseException):
                    return outcome
        return None

    def settle(self, timeout_s: float = 10) -> None:
        """Wait for all tasks that were submitted to end, one way or the other, at most ``timeout_s``."""
        end = time.monotonic() + timeout_s
        for futures in self._on_their_way.values():
            for future in futures:
                with suppress(Exception):  # how they end does not matter any more
                    future.wait(timeout=max(0.0, end - time.monotonic()))

    def drain(self) -> None:
        """Wait until every chunk is stored."""
        while self._on_their_way:
            self.collect(timeout_s=1)
