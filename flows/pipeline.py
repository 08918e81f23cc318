"""The DAG of one chunk, and how many chunks may be on their way at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from prefect import unmapped
from prefect.futures import PrefectFuture

from streamwave.job import Job
from streamwave.model import ChunkRecord
from tasks import package, segment, store, transcode


class ChunkPipeline:
    """Submits *segment → transcode × renditions → package → store* for every chunk, in order.

    package and store of a chunk wait for those of the chunk before. At most ``in_flight`` chunks are not yet stored,
    which bounds threads, memory and work files. ``on_stored`` is called in the flow's thread after each.
    """

    def __init__(self, job: Job, in_flight: int, on_stored: Callable[[], None] = lambda: None) -> None:
        self._job = job
        self._in_flight = in_flight
        self._on_stored = on_stored
        self._stores: deque[PrefectFuture[Any]] = deque()
        self._last: Sequence[PrefectFuture[Any]] = ()

    def submit(self, record: ChunkRecord) -> None:
        """Send a chunk on its way; waits for the oldest one if too many are.

        Raises what a task of an earlier chunk raised after its retries.
        """
        while len(self._stores) >= self._in_flight:
            self._wait_oldest()
        job = unmapped(self._job)
        chunk = segment.submit(self._job, record)
        made = transcode.map(job, unmapped(chunk), list(self._job.renditions))
        packaged = package.submit(self._job, chunk, wait_for=[*made, *self._last[:1]])
        stored = store.submit(self._job, record.number, wait_for=[packaged, *self._last[1:]])
        self._last = (packaged, stored)
        self._stores.append(stored)

    def drain(self) -> None:
        """Wait until every chunk is stored."""
        while self._stores:
            self._wait_oldest()

    def _wait_oldest(self) -> None:
        self._stores.popleft().result()
        self._on_stored()
