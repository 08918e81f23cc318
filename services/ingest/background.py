"""Work that goes on after the call that started it has been answered."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from services.ingest.log import events
from services.ingest.refusal import Refused
from streamwave.errors import LimitError

T = TypeVar("T")

#: How long ``close`` waits for tasks before it cancels them.
CLOSE_S = 1.0


class Background:
    """Tasks of one event loop. A failed task is logged, because its caller may no longer be there to see the error."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()  # asyncio itself keeps only weak references

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run ``work`` as a task."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    async def close(self) -> None:
        """Wait ``CLOSE_S`` for the tasks, then cancel the rest."""
        if self._tasks:
            _done, late = await asyncio.wait(self._tasks, timeout=CLOSE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, SQLAlchemyError):
            # The text of a database error can contain statement parameters, so log only its type.
            events.error("database failed", kind=type(getattr(error, "orig", None) or error).__name__)
        elif error is not None and not isinstance(error, Refused | LimitError):  # logged where they are raised
            events.error("background task failed", why=repr(error))
