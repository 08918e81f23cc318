"""Windows: the child flow runs that a live broadcast's task runs belong to, a few minutes of stream each."""

from __future__ import annotations

import contextvars
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from prefect import flow
from prefect.runtime import flow_run

from flows.pipeline import ChunkPipeline, InFlight
from streamwave.config.settings import Settings
from streamwave.model import ChunkRecord
from streamwave.pipeline.job import Job
from streamwave.pipeline.live import LiveBroadcast

#: If a window cannot be begun (Prefect's server is away), the old one goes on and the next try is after this time.
RETRY_S = 10.0
#: How long a window may take to begin before it counts as failed.
BEGIN_LIMIT_S = 30.0

log = logging.getLogger("streamwave.live")

Item = tuple[Job, ChunkRecord] | None


class _Window:
    """One child flow run in a thread of its own. ``None`` in its queue: drain and end."""

    def __init__(self, number: int, in_flight: InFlight, on_stored: Callable[[], None]) -> None:
        self.number = number
        self.items: queue.Queue[Item] = queue.Queue(maxsize=1)
        self.begun = threading.Event()
        self.done: Future[None] = Future()
        self.ending = False
        # The child belongs to the parent's run because it runs in a copy of its context.
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=context.run, args=(self._run, in_flight, on_stored), name=f"window-{number}", daemon=True
        )
        thread.start()

    def _run(self, in_flight: InFlight, on_stored: Callable[[], None]) -> None:
        drained = False

        @flow(name="live-window", flow_run_name=f"window {self.number:04d}", persist_result=False)
        def live_window() -> None:
            nonlocal drained
            self.begun.set()
            pipeline = ChunkPipeline(in_flight, on_stored)
            while True:
                try:
                    item = self.items.get(timeout=0.1)
                except queue.Empty:
                    pipeline.collect()
                    continue
                if item is None:
                    break
                pipeline.submit(*item)
                self.items.task_done()
            pipeline.drain()
            drained = True

        try:
            live_window()
        except BaseException as error:
            if drained:
                # Only Prefect's server could not be told; every chunk is published.
                log.warning("the end of window %d was not recorded: %s", self.number, error)
                self.done.set_result(None)
            else:
                self.done.set_exception(error)
        else:
            self.done.set_result(None)

    @property
    def idle(self) -> bool:
        """Whether every chunk that was handed over has been submitted to its tasks."""
        return self.items.unfinished_tasks == 0


class Windows:
    """Hands chunks to the current window, begins the next one in time, and ends old ones without holding up the stream.

    ``on_border`` is called in a thread with the parent's flow run id whenever a window has ended (see upkeep).
    """

    def __init__(self, broadcast: LiveBroadcast, settings: Settings, on_border: Callable[[str], None]) -> None:
        self._in_flight = InFlight(settings.max_chunks_in_flight)
        self._length_ms = settings.window_s * 1000
        self._broadcast = broadcast
        self._on_border = on_border
        self._parent = str(flow_run.id)
        self._windows: list[_Window] = []
        self._next: _Window | None = None  # is being begun while the current one still takes chunks
        self._next_limit = 0.0
        self._count = 0
        self._began_ms = 0
        self._retry_at = 0.0

    def submit(self, job: Job, record: ChunkRecord) -> None:
        """Send a chunk on its way. Raises what a window raised."""
        self.check()
        if self._next is None and (not self._windows or self._over(record)):
            self._next = _Window(self._count, self._in_flight, self._broadcast.stored)
            self._next_limit = time.monotonic() + BEGIN_LIMIT_S
            self._count += 1
        while not self._windows and not self._switch(record):
            time.sleep(0.02)
        self._switch(record)
        current = self._windows[-1]
        while True:
            try:
                current.items.put((job, record), timeout=0.1)
                return
            except queue.Full:
                self.check()

    def _over(self, record: ChunkRecord) -> bool:
        length_ms = record.next_ms - self._began_ms
        return (length_ms >= self._length_ms or length_ms < 0) and time.monotonic() >= self._retry_at

    def _switch(self, record: ChunkRecord) -> bool:
        """Make the next window the current one if it has begun; whether it was. The stream never waits for Prefect.

        Raises what kept the very first window from beginning.
        """
        window = self._next
        if window is None:
            return False
        if window.begun.is_set():
            # In order: nothing of the next window may be submitted before all of this one is.
            while self._windows and not self._windows[-1].idle:
                self.check()
                time.sleep(0.005)
            for old in self._windows:
                self._end(old)
            self._windows.append(window)
            self._next, self._began_ms = None, record.start_ms
            return True
        if window.done.done() or time.monotonic() > self._next_limit:
            if not self._windows:
                window.done.result(timeout=0.1)
            log.warning("Prefect's server does not take a new window; the old one goes on")
            self._end(window)  # should it still begin, it ends at once
            self._next, self._retry_at = None, time.monotonic() + RETRY_S
        return False

    def _end(self, window: _Window) -> None:
        if window.ending:
            return
        window.ending = True
        # The queue has one place; the window empties it as fast as chunks may be in flight.
        threading.Thread(target=window.items.put, args=(None,), daemon=True).start()

    def check(self) -> None:
        """Raise what a window raised; forget those that have ended. Whoever waits for anything calls it all the time."""
        self._broadcast.status.pulse()
        for window in list(self._windows):
            if window.done.done():
                self._windows.remove(window)
                window.done.result()
                threading.Thread(target=self._on_border, args=(self._parent,), daemon=True).start()

    def drain(self) -> None:
        """Wait until all chunks of all windows are stored."""
        for window in [*self._windows, *filter(None, [self._next])]:
            self._end(window)
        while self._windows:
            self.check()
            time.sleep(0.02)

    def abandon(self) -> None:
        """End the windows' threads without waiting for their chunks."""
        for window in [*self._windows, *filter(None, [self._next])]:
            self._end(window)
