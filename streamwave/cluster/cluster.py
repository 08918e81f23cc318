"""The workers of one scheduler, as a run uses them: hands chunks to them, and hands a chunk to another one if need be."""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import errno
import itertools
import logging
import pickle
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from streamwave.cluster.dask_config import prepare, security
from streamwave.cluster.encoder import encoder_digest
from streamwave.cluster.endpoint import Endpoint
from streamwave.cluster.order import Order, Outcome, perform, resource
from streamwave.cluster.roster import Roster
from streamwave.cluster.splitting import Splitting
from streamwave.errors import FFmpegError, MediaError, StreamWaveError, TooCostlyError
from streamwave.ffmpeg.meter import Meter, Slots
from streamwave.ffmpeg.process import Launcher
from streamwave.ffmpeg.transcode import Encoded, Transcoder
from streamwave.model import Chunk, Rendition

log = logging.getLogger("streamwave.cluster")

#: Interval at which a thread that waits for a result checks whether it still should.
CHECK_S = 0.1
#: Interval at which the scheduler is asked for its workers while results are awaited.
LOOK_S = 1.0
#: How long to wait for an answer of the scheduler before it is said, or tried again.
CONNECT_S = 5.0
#: More than a chunk is ever submitted.
LIVE_FIRST = 10**9
#: States of a client that has, or tries to restore, its connection.
_USABLE = ("running", "connecting")


class Cluster:
    """Encodes chunks on the workers of ``endpoint`` that have the same encoder as ``ffmpeg_path``. Thread-safe.

    Those of a ``live`` stream go before those of files. Among equals, chunks that are submitted again go first, because their
    stream waits for them, and others in the order in which they reach the scheduler, from whichever run they come.

    It waits as long as it takes for a scheduler and for workers: received chunks are safe in the spool. ``on_news`` gets a
    sentence when that changes, or when workers are not used; it is called in a thread of its own, which has the connection.
    ``on_look`` is called there every second while results are awaited.
    """

    def __init__(
        self, endpoint: Endpoint, ffmpeg_path: str, on_news: Callable[[str], None] = log.warning, *, live: bool = False
    ) -> None:
        self.on_news = on_news
        self.on_look: Callable[[], None] = lambda: None
        self._live = live
        self._endpoint = endpoint
        self._resource = resource(encoder_digest(ffmpeg_path))
        self._roster = Roster(endpoint.address, self._resource)
        self._awaited = 0  # results
        self._starved_at = 0.0  # when there was no worker for them
        self._splitting, self._deciding = Splitting(), threading.Lock()
        self._client: Any = None
        self._connecting, self._closing = asyncio.Lock(), asyncio.Event()
        begun = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main(begun)), name="cluster", daemon=True)
        self._thread.start()
        begun.wait()

    def close(self) -> None:
        """Disconnect. Workers end what they still do for this run."""
        with suppress(RuntimeError):  # it is closed already
            self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join(2 * CONNECT_S)

    @property
    def slots(self) -> Slots:
        """The workers' slots, as of the last time that results were awaited."""
        found = self._roster.slots
        return found if found.slots else dataclasses.replace(found, queued=self._awaited)

    def encode(self, transcoder: Transcoder, chunk: Chunk, renditions: Sequence[Rendition]) -> Encoded:
        """What ``transcoder`` would make of ``chunk``, made by a worker, or by two if that shortens the delay of a live stream.

        If the worker or the scheduler is lost, the chunk goes to another one. Raises what ``Transcoder.encode`` raises.
        """
        if self._divides(transcoder, chunk, renditions):
            with ThreadPoolExecutor(1) as other:
                rest = other.submit(self._encode, transcoder, chunk, renditions[1:])
                halves = [self._encode(transcoder, chunk, renditions[:1]), rest.result()]
        else:
            halves = [self._encode(transcoder, chunk, renditions)]
        if len(renditions) > 1:  # not a retry
            with self._deciding:
                self._splitting.took(float(chunk.duration_s), sum(one.seconds for one, _ in halves))
        return Encoded(
            {name: data for one, _ in halves for name, data in one.files.items()},
            frozenset().union(*(one.damaged for one, _ in halves)),
            "; ".join(where if len(halves) == 1 else f"{', '.join(one.files)} {where}" for one, where in halves),
        )

    def _divides(self, transcoder: Transcoder, chunk: Chunk, renditions: Sequence[Rendition]) -> bool:
        if not self._live or len(renditions) < 2 or transcoder.passthrough is not None:
            return False
        found = self._roster.slots
        free = found.slots - max(found.busy, self._awaited)
        with self._deciding:
            slots = dataclasses.replace(found, idle_workers=min(found.idle_workers, max(free, 0)))
            return self._splitting.next(slots, float(chunk.duration_s))

    def _encode(self, transcoder: Transcoder, chunk: Chunk, renditions: Sequence[Rendition]) -> tuple[Outcome, str]:
        """What a worker has made of ``chunk``, and where and how fast it did, for people."""
        what = f"chunk {chunk.number} to {', '.join(one.name for one in renditions)}"
        video = _video(chunk)
        for tries in itertools.count(1):
            key = f"chunk-{chunk.number}-{uuid.uuid4().hex}"
            order = Order(
                key, chunk, tuple(renditions), transcoder.encoder, transcoder.timeout_s, transcoder.limits,
                transcoder.passthrough,
            )  # fmt: skip
            began = time.monotonic()
            outcome = self._perform(order, video, transcoder.launcher, what)
            if outcome is None:
                time.sleep(CHECK_S)
            elif outcome.error is None:
                self._roster.works(outcome.worker)
                self._measure(transcoder.meter, outcome, began)
                speed = float(chunk.duration_s) / max(outcome.seconds, 0.001)
                where = f"on {outcome.worker}, attempt {tries}: {outcome.seconds:.2f} s, {speed:.2f} × real time"
                return outcome, where
            elif not isinstance(outcome.error, OSError):
                self._roster.blame(chunk.number, outcome.worker)
                raise outcome.error  # a retry goes to another worker, if there is one
            else:  # the fault of that machine, such as a full disk: it must not cost the chunk
                log.info("%s is submitted again: %s: %s", what, outcome.worker, outcome.error)
                self._report(self._roster.broken(outcome.worker, outcome.error.strerror or repr(outcome.error)))
                if not self._roster.blame(chunk.number, outcome.worker):
                    self._roster.pardon(chunk.number)
                    time.sleep(LOOK_S)
        raise AssertionError

    def _measure(self, meter: Meter, outcome: Outcome, began: float) -> None:
        """Count the time since ``began``. What is neither encoding nor waiting is transfer, unless there was no worker."""
        rest = time.monotonic() - began - outcome.seconds - outcome.waited
        starved = self._starved_at >= began
        meter.add("encode", outcome.seconds)
        meter.add("wait", outcome.waited + starved * rest)
        meter.add("transfer", (not starved) * rest)

    def _perform(self, order: Order, video: bytes, launcher: Launcher, what: str) -> Outcome | None:
        """Have one worker perform ``order``; None if it has to be submitted again."""
        ending = FFmpegError(f"{what}: not finished because the run is ending")
        # One future for the whole way: waiting for a result with a time-out would begin to fetch it again each time.
        submitting = self._submit(order, video, what)
        try:
            pending = asyncio.run_coroutine_threadsafe(submitting, self._loop)
        except RuntimeError:  # closed
            submitting.close()
            raise ending from None
        try:
            while not concurrent.futures.wait([pending], CHECK_S).done:
                if launcher.closed:
                    raise ending
                if self._roster.is_lost(order.key):
                    log.info("%s is submitted again, because its worker is silent", what)
                    return None
            return pending.result()
        except concurrent.futures.CancelledError:
            raise ending from None
        finally:
            pending.cancel()

    async def _submit(self, order: Order, video: bytes, what: str) -> Outcome | None:
        from distributed import KilledWorker
        from distributed.client import ClosedClientError, FutureCancelledError

        self._awaited += 1
        try:
            client = await self._connected()
            future = client.submit(
                perform, pickle.dumps(order), video, key=order.key, resources={self._resource: 1},
                priority=LIVE_FIRST * self._live + self._roster.submitted(order.chunk.number),
                fifo_timeout=0,  # otherwise what arrives within 0.1 s has no order
                workers=self._roster.usable(order.chunk.number, order.key),
            )  # fmt: skip
            try:
                found: Outcome = await future
                return found
            finally:
                future.release()  # a worker that still has it ends it
        except KilledWorker as error:
            worker = error.last_worker.name
            raise TooCostlyError(f"{what}: every worker that tried it died, the last one was {worker}") from None
        except (FutureCancelledError, ClosedClientError, OSError) as error:
            log.info("%s is submitted again: %s", what, error)
            return None
        except Exception as error:  # what no worker should raise, such as for an order that it cannot read
            raise FFmpegError(f"{what}: its worker failed: {error!r}") from error
        finally:
            self._awaited -= 1
            self._roster.forget(order.key)

    async def _connected(self) -> Any:
        """The connection to the scheduler, which is waited for."""
        async with self._connecting:
            while self._client is None or self._client.status not in _USABLE:
                try:
                    self._client = await client_of(self._endpoint)
                    self._tell(self._roster.reached())
                    await self._look()
                except OSError:
                    self._tell(self._roster.unreached())
                    await asyncio.sleep(CHECK_S)
            return self._client

    async def _main(self, begun: threading.Event) -> None:
        """Hold the connection, and keep the roster current while results are awaited, until ``close``."""
        self._loop = asyncio.get_running_loop()
        prepare(quiet=True)
        begun.set()
        watching = asyncio.create_task(self._watch())
        await self._closing.wait()
        watching.cancel()
        if self._client is not None:
            with suppress(OSError, TimeoutError):
                await asyncio.wait_for(self._client.close(), CONNECT_S)

    async def _watch(self) -> None:
        while True:
            if self._awaited:
                found = self._client is not None and self._client.status in _USABLE
                try:
                    if found:
                        await self._look()
                        self._tell(self._roster.reached())
                except TimeoutError:  # it is there, but stuck
                    self._tell(self._roster.unreached())
                    found = False
                except Exception as error:  # Dask's, of any kind: the connection is about to be replaced
                    log.debug("the scheduler's workers are unknown: %r", error)
                if not found or not self._roster.slots.slots:
                    self._starved_at = time.monotonic()
                self.on_look()
            await asyncio.sleep(LOOK_S)

    async def _look(self) -> None:
        async with asyncio.timeout(CONNECT_S):
            workers, processing = await asyncio.gather(
                workers_of(self._client), self._client.scheduler.processing(workers=None)
            )
        self._tell(self._roster.update(workers, processing, time.monotonic()))

    def _report(self, news: Sequence[str]) -> None:
        """``_tell`` from another thread."""
        with suppress(RuntimeError):  # closed
            self._loop.call_soon_threadsafe(self._tell, news)

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


async def client_of(endpoint: Endpoint) -> Any:
    """A connection to the scheduler, in the running loop.

    Raises:
        OSError: it does not answer within ``CONNECT_S``, or not to this key.
    """
    prepare(quiet=True)
    from distributed import Client

    client = Client(
        endpoint.address, security=security(endpoint), asynchronous=True, set_as_default=False, timeout=CONNECT_S
    )
    try:
        async with asyncio.timeout(CONNECT_S):  # Dask waits without end for the first words of a peer
            return await client
    except BaseException as error:
        with suppress(Exception):
            await asyncio.wait_for(client.close(), CONNECT_S)
        if isinstance(error, OSError) or not isinstance(error, Exception):
            raise
        # What Dask makes of a peer that is no scheduler, or one of another version.
        raise OSError(f"{endpoint.address}: {error!r}") from error


async def workers_of(client: Any) -> dict[str, Any]:
    """The scheduler's workers by address, as Dask describes them."""
    found = await client.scheduler.identity(n_workers=-1)
    return dict(found["workers"])


def ask_slots(endpoint: Endpoint, ffmpeg_path: str) -> Slots:
    """The slots of the scheduler's workers for this machine's encoder.

    Raises:
        StreamWaveError: the scheduler does not answer.
    """

    async def ask() -> tuple[dict[str, Any], dict[str, Any]]:
        async with asyncio.timeout(2 * CONNECT_S), await client_of(endpoint) as client:
            return await workers_of(client), await client.scheduler.processing(workers=None)

    roster = Roster(endpoint.address, resource(encoder_digest(ffmpeg_path)))
    try:
        roster.update(*asyncio.run(ask()), time.monotonic())
    except OSError:
        raise StreamWaveError(
            f"the scheduler {endpoint.address} does not answer; start `streamwave scheduler` there, and use the same key here "
            "and there"
        ) from None
    return roster.slots


def check_workers(endpoint: Endpoint, ffmpeg_path: str) -> Slots:
    """Check that the scheduler answers, and has a worker that can encode for this machine.

    Raises:
        StreamWaveError: it does not, or has none.
    """
    found = ask_slots(endpoint, ffmpeg_path)
    if not found.slots:
        raise StreamWaveError(
            f"the workers of {endpoint.address} have another FFmpeg or another version of StreamWave than this machine "
            f"({', '.join(found.unusable)}); install the same everywhere"
            if found.unusable
            else f"the scheduler {endpoint.address} has no workers; start some with `streamwave worker`"
        )
    return found
