"""The task graph of one chunk, and the limit on chunks in flight."""

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
    """Limits the chunks in flight over all pipelines of a run, and keeps the futures that the next chunk has to wait for."""

    def __init__(self, limit: int) -> None:
        self.room = threading.BoundedSemaphore(limit)
        self.last: Sequence[PrefectFuture[Any]] = ()


class ChunkPipeline:
    """Submits *segment → transcode × renditions → package → store* for every chunk, in order.

    The package and store tasks of a chunk wait for those of the previous chunk. ``on_stored`` is called in the flow's thread
    after each chunk, in order.
    """

    def __init__(self, in_flight: InFlight, on_stored: Callable[[], None] = lambda: None) -> None:
        self._in_flight = in_flight
        self._on_stored = on_stored
        self._futures: dict[int, Sequence[PrefectFuture[Any]]] = {}  # all futures of a chunk, by the id() of its last
        self._done: queue.SimpleQueue[PrefectFuture[Any]] = queue.SimpleQueue()
        self._transcode = transcode

    def submit(self, job: Job, record: ChunkRecord) -> None:
        """Submit the tasks of a chunk, after waiting for earlier chunks if the limit is reached.

        Raises the error of an earlier chunk's task whose retries have failed.
        """
        self.collect()
        while not self._in_flight.room.acquire(timeout=0.05):
            self.collect()
        if self._transcode.retries != job.retries:
            self._transcode = transcode.with_options(retries=job.retries)
        # Pass on the chunk itself, not its future: for every parameter that is a future, Prefect requests the state from its
        # server before the task starts. That takes longer than the task, and blocks while the server is unreachable.
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
        self._futures[id(stored)] = (segmented, *made, packaged, stored)
        stored.add_done_callback(self._finished)

    def _finished(self, stored: PrefectFuture[Any]) -> None:
        self._in_flight.room.release()
        self._done.put(stored)

    def collect(self, timeout_s: float = 0) -> None:
        """Process the chunks that have been stored, waiting up to ``timeout_s`` for the first one.

        Raises the error of a chunk that failed.
        """
        while self._futures:
            try:
                stored = self._done.get(block=timeout_s > 0, timeout=timeout_s or None)
            except queue.Empty:
                return
            timeout_s = 0
            try:
                stored.result()
            except Exception as error:
                raise self._cause() or error from None
            del self._futures[id(stored)]
            self._on_stored()

    def _cause(self) -> BaseException | None:
        """The error of the first task that failed; tasks that depend on it only report that they were not ready."""
        for futures in self._futures.values():
            for future in futures:
                try:
                    outcome = future.result(timeout=0, raise_on_failure=False)
                except Exception:  # the task has not ended, or was not ready
                    continue
                if isinstance(outcome, BaseException):
                    return outcome
        return None

    def settle(self, timeout_s: float = 10) -> None:
        """Wait up to ``timeout_s`` for all submitted tasks to end, whatever their outcome."""
        end = time.monotonic() + timeout_s
        for futures in self._futures.values():
            for future in futures:
                with suppress(Exception):  # the outcome no longer matters
                    future.wait(timeout=max(0.0, end - time.monotonic()))

    def drain(self) -> None:
        """Wait until every chunk is stored."""
        while self._futures:
            self.collect(timeout_s=1)
