"""Windows: child flow runs of a live broadcast, each with the task runs of a few minutes of stream."""

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

#: Delay before another attempt to start a window that Prefect's server could not start; the old window continues meanwhile.
RETRY_S = 10.0
#: How long a window may take to start before it counts as failed.
BEGIN_LIMIT_S = 30.0
#: How long windows whose chunks are stored may take to report their end to Prefect's server.
REPORT_LIMIT_S = 30.0

log = logging.getLogger("streamwave.live")

Item = tuple[Job, ChunkRecord] | None


class _Window:
    """One child flow run in a thread of its own. ``None`` in its queue makes it drain and end."""

    def __init__(self, number: int, in_flight: InFlight, on_stored: Callable[[], None]) -> None:
        self.number = number
        self.items: queue.Queue[Item] = queue.Queue(maxsize=1)
        self.begun = threading.Event()
        self.drained = threading.Event()  # all of its chunks are stored
        self.done: Future[None] = Future()
        self.ending = False
        # Prefect recognizes the parent run by the context, so the thread runs in a copy of it.
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=context.run, args=(self._run, in_flight, on_stored), name=f"window-{number}", daemon=True
        )
        thread.start()

    def _run(self, in_flight: InFlight, on_stored: Callable[[], None]) -> None:
        @flow(name="live-window", flow_run_name=f"window {self.number:04d}", persist_result=False)
        def live_window() -> None:
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
            self.drained.set()

        try:
            live_window()
        except BaseException as error:
            if self.drained.is_set():
                # Every chunk is published; only reporting the end to Prefect's server failed.
                log.warning("the end of window %d could not be reported to Prefect: %s", self.number, error)
                self.done.set_result(None)
            else:
                self.done.set_exception(error)
        else:
            self.done.set_result(None)

    @property
    def idle(self) -> bool:
        """Whether every chunk in the queue has been submitted as tasks."""
        return self.items.unfinished_tasks == 0


class Windows:
    """Hands chunks to the current window, starts the next one in time, and ends old ones without delaying the stream.

    ``on_border`` is called in a thread with the parent's flow run ID whenever a window has ended (see ``upkeep``).
    """

    def __init__(self, broadcast: LiveBroadcast, settings: Settings, on_border: Callable[[str], None]) -> None:
        self._in_flight = InFlight(settings.max_chunks_in_flight)
        self._length_ms = settings.window_s * 1000
        self._broadcast = broadcast
        self._on_border = on_border
        self._parent = str(flow_run.id)
        self._windows: list[_Window] = []
        self._next: _Window | None = None  # starting, while the current one still takes chunks
        self._next_limit = 0.0
        self._count = 0
        self._began_ms = 0
        self._retry_at = 0.0

    def submit(self, job: Job, record: ChunkRecord) -> None:
        """Submit a chunk to the current window. Raises the error of a failed window."""
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
        """Make the next window the current one if it has started. Returns whether it has. The stream never waits for Prefect.

        Raises the error of the first window if that cannot be started.
        """
        window = self._next
        if window is None:
            return False
        if window.begun.is_set():
            # Chunks must be submitted in order, so the next window waits until the current one has submitted all of its own.
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
            log.warning("Prefect could not start a new window; the old one continues")
            self._end(window)  # if it does start later, it ends at once
            self._next, self._retry_at = None, time.monotonic() + RETRY_S
        return False

    def _end(self, window: _Window) -> None:
        if window.ending:
            return
        window.ending = True
        # In a thread, because the queue holds only one item and may be full until chunks in flight have been stored.
        threading.Thread(target=window.items.put, args=(None,), daemon=True).start()

    def check(self) -> None:
        """Raise the error of a failed window, and remove windows that have ended. Must be called regularly while waiting."""
        self._broadcast.status.pulse()
        for window in list(self._windows):
            if window.done.done():
                self._windows.remove(window)
                window.done.result()
                threading.Thread(target=self._on_border, args=(self._parent,), daemon=True).start()

    def drain(self) -> None:
        """End all windows and wait until their chunks are stored, and a while until Prefect knows that they ended.

        A window without chunks, too, would seem to run for ever if this process ended first.
        """
        following = [self._next] if self._next else []
        for window in [*self._windows, *following]:
            self._end(window)
        limit = None
        while unreported := [*self._windows, *(window for window in following if not window.done.done())]:
            self.check()
            now = time.monotonic()
            if limit is None and all(window.drained.is_set() for window in self._windows):
                limit = now + REPORT_LIMIT_S
            if limit is not None and now >= limit:
                for window in unreported:
                    log.warning("Prefect does not answer, so it does not know that window %d has ended", window.number)
                return
            time.sleep(0.02)

    def abandon(self) -> None:
        """End all windows without waiting for their chunks."""
        for window in [*self._windows, *filter(None, [self._next])]:
            self._end(window)
