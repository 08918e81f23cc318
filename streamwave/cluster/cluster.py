"""The workers of one scheduler, as a run uses them: hands chunks to them, and hands a chunk to another one if need be."""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import logging
import pickle
import socket
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from streamwave.cluster.dask_config import prepare, security
from streamwave.cluster.encoder import encoder_digest
from streamwave.cluster.endpoint import Endpoint
from streamwave.cluster.order import Order, Outcome, perform, resource
from streamwave.cluster.roster import Roster
from streamwave.errors import FFmpegError, MediaError, StreamWaveError, TooCostlyError
from streamwave.ffmpeg.process import Launcher
from streamwave.ffmpeg.transcode import Encoded, Transcoder
from streamwave.model import Chunk, Rendition

log = logging.getLogger("streamwave.cluster")

#: Interval at which a thread that waits for a result checks whether it still should.
CHECK_S = 0.1
#: Interval at which the scheduler is asked for its workers while results are awaited.
LOOK_S = 1.0
#: How long to wait for the scheduler before another attempt.
CONNECT_S = 5.0
#: States of a client that has, or tries to restore, its connection.
_USABLE = ("running", "connecting")


class Cluster:
    """Encodes chunks on the workers of ``endpoint`` that have the same encoder as ``ffmpeg_path``. Thread-safe.

    It connects with the first chunk, and waits as long as it takes for a scheduler and for workers: received chunks are safe in
    the spool. ``on_news`` gets a sentence when that changes, or when workers are not used; it is called in any thread.
    """

    def __init__(self, endpoint: Endpoint, ffmpeg_path: str, on_news: Callable[[str], None] = log.warning) -> None:
        self.on_news = on_news
        self._endpoint = endpoint
        self._resource = resource(encoder_digest(ffmpeg_path))
        self._roster = Roster(endpoint.address, self._resource)
        self._client: Any = None
        self._waiting = 0  # threads that wait for a result
        self._counting = threading.Lock()
        self._closed = False
        self._connecting = threading.Lock()

    def close(self) -> None:
        """Disconnect. Workers end what they still do for this run."""
        self._closed = True
        with self._connecting:
            client, self._client = self._client, None
            if client is not None:
                client.close(timeout=2)

    def encode(self, transcoder: Transcoder, chunk: Chunk, renditions: Sequence[Rendition]) -> Encoded:
        """What ``transcoder`` would make of ``chunk``, made by a worker.

        If the worker or the scheduler is lost, the chunk goes to another one. Raises what ``Transcoder.encode`` raises.
        """
        what = f"chunk {chunk.number} to {', '.join(one.name for one in renditions)}"
        video = _video(chunk)
        for tries in range(1, 1_000_000):
            key = f"chunk-{chunk.number}-{uuid.uuid4().hex}"
            order = Order(
                key, chunk, tuple(renditions), transcoder.encoder, transcoder.timeout_s, transcoder.limits,
                transcoder.passthrough,
            )  # fmt: skip
            outcome = self._perform(order, video, transcoder.launcher, what)
            if outcome is None:
                continue
            if isinstance(outcome.error, OSError) and self._roster.avoid(outcome.worker):
                log.warning(
                    "%s is encoded elsewhere, because %s has a problem: %s", what, outcome.worker, outcome.error
                )
                continue
            if outcome.error is not None:
                raise outcome.error
            speed = float(chunk.frame_count / chunk.rate) / max(outcome.seconds, 0.001)
            where = f"on {outcome.worker}, attempt {tries}: {outcome.seconds:.2f} s, {speed:.2f} × real time"
            return Encoded(outcome.files, outcome.damaged, where)
        raise AssertionError

    def _perform(self, order: Order, video: bytes, launcher: Launcher, what: str) -> Outcome | None:
        """Have one worker perform ``order``; None if it has to be submitted again."""
        client = self._connected(launcher, what)
        from distributed import KilledWorker
        from distributed.client import ClosedClientError, FutureCancelledError

        allowed = self._roster.usable()
        with self._counting:
            self._waiting += 1
        try:
            future = client.submit(
                perform, pickle.dumps(order), video, key=order.key, resources={self._resource: 1},
                priority=-order.chunk.number, workers=allowed,
            )  # fmt: skip
            # Not future.result(timeout), which would begin to fetch the result again each time.
            pending = asyncio.run_coroutine_threadsafe(future._result(), client.loop.asyncio_loop)
            try:
                while not concurrent.futures.wait([pending], CHECK_S).done:
                    if launcher.closed:
                        raise FFmpegError(f"{what}: not finished because the run is ending")
                    if self._roster.is_lost(order.key, allowed) or client.status not in _USABLE:
                        log.info("%s is submitted again, because its worker or the scheduler is lost", what)
                        return None
                found: Outcome = pending.result()
                return found
            finally:
                pending.cancel()
                future.release()  # a worker that still has it ends it
        except KilledWorker as error:
            raise TooCostlyError(
                f"{what}: every worker that tried it died, the last one was {error.last_worker.name}"
            ) from None
        except (FutureCancelledError, ClosedClientError, concurrent.futures.CancelledError, OSError) as error:
            log.info("%s is submitted again: %s", what, error)
            return None
        finally:
            with self._counting:
                self._waiting -= 1

    def _connected(self, launcher: Launcher, what: str) -> Any:
        """The connection to the scheduler, which is waited for."""
        while True:
            if launcher.closed or self._closed:
                raise FFmpegError(f"{what}: not started because the run is ending")
            with self._connecting:
                if self._client is not None and self._client.status in _USABLE:
                    return self._client
                self._client = connect(self._endpoint)
                if self._client is not None:
                    self._client.loop.add_callback(self._watch, self._client)
                    self._tell(self._roster.reached())
                    return self._client
            self._tell(self._roster.unreached())
            time.sleep(CHECK_S)

    async def _watch(self, client: Any) -> None:
        """Keep the roster current while results are awaited."""
        while client.status in _USABLE:
            if self._waiting:
                with suppress(OSError):
                    identity, processing = await asyncio.gather(
                        client.scheduler.identity(n_workers=-1), client.scheduler.processing(workers=None)
                    )
                    self._tell(self._roster.update(identity["workers"], processing, time.monotonic()))
            await asyncio.sleep(LOOK_S)

    def _tell(self, news: Sequence[str]) -> None:
        for text in news:
            self.on_news(text)


def _video(chunk: Chunk) -> bytes:
    assert chunk.video_path is not None
    try:
        return Path(chunk.video_path).read_bytes()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EIO):
            raise
        raise MediaError(f"chunk {chunk.number}: its file cannot be read ({error.strerror})") from None


def connect(endpoint: Endpoint) -> Any:
    """A connection to the scheduler; None if it does not answer within ``CONNECT_S``."""
    prepare(quiet=True)
    from distributed import Client

    keys = security(endpoint)
    try:
        # A client that fails to connect leaves a thread behind, so look first.
        with socket.create_connection((endpoint.host, endpoint.port), CONNECT_S) as probe:
            if keys is not None:
                keys.get_connection_args("client")["ssl_context"].wrap_socket(probe).close()
        return Client(endpoint.address, security=keys, set_as_default=False, timeout=CONNECT_S)
    except OSError:
        return None


def check_workers(endpoint: Endpoint, ffmpeg_path: str) -> None:
    """Check that the scheduler answers, and has a worker that can encode for this machine.

    Raises:
        StreamWaveError: it does not, or has none.
    """
    client = connect(endpoint)
    if client is None:
        raise StreamWaveError(
            f"the scheduler {endpoint.address} does not answer; start `streamwave scheduler` there, and use the same key here "
            "and there"
        )
    try:
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
    finally:
        client.close(timeout=CONNECT_S)
    if not any(resource(encoder_digest(ffmpeg_path)) in one["resources"] for one in workers):
        others = ", ".join(sorted(str(one["name"]) for one in workers))
        raise StreamWaveError(
            f"the workers of {endpoint.address} have another FFmpeg or another version of StreamWave than this machine "
            f"({others}); install the same everywhere"
            if others
            else f"the scheduler {endpoint.address} has no workers; start some with `streamwave worker`"
        )
