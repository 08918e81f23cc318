"""The part of a worker that encodes chunks: one FFmpeg process per order, which ends when nobody wants its result any more."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from distributed import Reschedule, WorkerPlugin

from streamwave.cluster.order import BENCH, Order, Outcome
from streamwave.errors import StreamWaveError
from streamwave.ffmpeg.process import Launcher
from streamwave.ffmpeg.transcode import DAMAGED, Transcoder


class Bench(WorkerPlugin):
    """Performs orders with the FFmpeg at ``ffmpeg_path`` in folders below ``scratch``. ``worker`` is this worker's name."""

    name = BENCH

    def __init__(self, ffmpeg_path: str, scratch: Path, worker: str) -> None:
        self._ffmpeg_path, self._scratch, self._worker = ffmpeg_path, scratch, worker
        self._running: dict[str, Launcher] = {}
        self._arrived: dict[str, float] = {}
        self._stopping = False
        self._lock = threading.Lock()
        self._dask: Any = None

    def setup(self, worker: Any) -> None:
        """Called by Dask at the start."""
        self._dask = worker

    def teardown(self, worker: Any) -> None:
        """Called by Dask at the end: kill all FFmpeg processes."""
        with self._lock:
            self._stopping = True
            running = list(self._running.values())
        for launcher in running:
            launcher.close()

    def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:
        """Called by Dask when the state of a task changes: if a running one is released, its result is not wanted any more."""
        if start == "released":
            self._arrived[str(key)] = time.monotonic()
        if finish in ("released", "forgotten"):
            self._arrived.pop(str(key), None)
        if start == "executing" and finish == "released":
            with self._lock:
                launcher = self._running.get(str(key))
            if launcher is not None:
                launcher.close()

    def perform(self, order: Order, video: bytes) -> Outcome:
        """Encode a chunk. Errors of the chunk and of this machine are part of the outcome.

        If it hangs, such as in a read from a disk that does not answer, this process ends, so that the scheduler gives its
        chunks to other workers: a thread cannot be ended, and its heartbeats would go on.

        Raises:
            Reschedule: the order has been cancelled, or this worker is stopping.
        """
        launcher = Launcher(1)
        overdue = threading.Timer(order.limit_s, self._give_up, (order,))
        overdue.daemon = True
        overdue.start()
        with self._lock:
            self._running[order.key] = launcher
        try:
            # It may have been cancelled before this thread started.
            task = self._dask.state.tasks.get(order.key)
            if self._stopping or task is None or task.state != "executing":
                raise Reschedule
            began = time.monotonic()
            waited = began - self._arrived.get(order.key, began)
            try:
                files, damaged = self._encode(order, video, launcher)
                outcome = Outcome(self._worker, time.monotonic() - began, files, damaged, waited=waited)
            except (StreamWaveError, OSError) as error:
                outcome = Outcome(self._worker, time.monotonic() - began, {}, frozenset(), error)
            except MemoryError:
                lack = OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
                outcome = Outcome(self._worker, time.monotonic() - began, {}, frozenset(), lack)
            if launcher.closed:
                raise Reschedule
            return outcome
        finally:
            overdue.cancel()
            with self._lock:
                self._running.pop(order.key, None)

    def _give_up(self, order: Order) -> None:
        with suppress(OSError):
            print(
                f"worker {self._worker}: hangs since {order.limit_s:g} s in chunk {order.chunk.number}; ending. Check its disk",
                flush=True,
            )
        os._exit(1)

    def _encode(self, order: Order, video: bytes, launcher: Launcher) -> tuple[dict[str, bytes], frozenset[str]]:
        with tempfile.TemporaryDirectory(prefix="chunk-", dir=self._scratch) as folder:
            assert order.chunk.video_path is not None
            path = Path(folder, Path(order.chunk.video_path).name)
            path.write_bytes(video)
            chunk = order.chunk.model_copy(update={"video_path": str(path)})
            transcoder = Transcoder(
                self._ffmpeg_path,
                order.encoder,
                launcher,
                Path(folder),
                order.timeout_s,
                order.limits,
                order.passthrough,
            )
            transcoder.encode(chunk, order.renditions)
            results = {one.name: transcoder.result_path(chunk, one.name) for one in order.renditions}
            damaged = {name for name, result in results.items() if result.with_suffix(DAMAGED).exists()}
            return {name: result.read_bytes() for name, result in results.items()}, frozenset(damaged)
