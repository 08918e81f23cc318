"""Sessions: who publishes what at this moment. The database says who, the spool's locks say whether it is alive."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from services.ingest import receive
from services.ingest.call import HookCall
from services.ingest.guard import is_loopback
from services.ingest.kick import Processing
from services.ingest.log import events
from services.ingest.refusal import Refused
from services.ingest.tries import Tries
from streamwave.config.settings import Settings
from streamwave.errors import LimitError, SpoolError
from streamwave.sources.address import shown
from streamwave.spool.broadcast import BroadcastSpool, StreamLiveError
from streamwave.spool.journal import OTHER_KIND, PICTURES_BEGIN, end_of, writer_alive
from streamwave.spool.pace import too_often, windows
from streamwave.streams.publishes import Client, Publish, Publishes
from streamwave.streams.registry import Registry, Stream

#: A publish is accepted when its segmenter has begun to pull; nginx waits 10 s for our answer.
PULL_TIMEOUT_S = 5.0
#: A hook is answered within this time, whatever hangs: nginx gives up after 10 s, and nobody would know of what came out.
ANSWER_S = 7.0
#: Threads that wait for segmenters to end, so that many publishers who leave at once hold up nobody else's call.
ENDING_THREADS = 32
#: A segmenter that died is replaced, unless it lived for less than this.
REVIVE_MS = 5_000
#: ``instance`` of sessions whose source we pull ourselves.
PULLED = "pull"

_TOO_SLOW = "the ingest service is too slow at the moment (disk, database or processor); connect again"

T = TypeVar("T")


class Sessions:
    """All of it runs in one event loop; what blocks runs in threads. One lock per stream keeps its events in order."""

    def __init__(self, settings: Settings, registry: Registry, publishes: Publishes, processing: Processing) -> None:
        self._settings, self._registry, self._publishes, self._processing = settings, registry, publishes, processing
        self._receiver = receive.Receiver(settings)
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._pulling: dict[str, asyncio.Event] = {}
        self._asking: set[Client] = set()
        self._segmenters: dict[Path, subprocess.Popen[bytes]] = {}  # those started by this process
        self._tries = Tries()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ending = ThreadPoolExecutor(ENDING_THREADS, thread_name_prefix="ending")

    async def recover(self) -> None:
        """After a start: forget publishes that were not accepted yet, and those that ended while nobody listened."""
        for publish in await _thread(self._publishes.open):
            if not publish.accepted or not await self._receiving(publish):
                await self._end(publish, "ended while the ingest service was down")
            else:
                events.info("publish goes on", stream=publish.stream, session=publish.path, client=publish.address)

    async def publish(self, call: HookCall) -> str:
        """Like ``_publish``, within ``ANSWER_S``.

        nginx-rtmp asks for updates of a connection from the moment on that it asks for this.
        """
        self._asking.add(call.client)
        work = self._start_task(self._publish(call))
        try:
            async with asyncio.timeout(ANSWER_S):
                return await asyncio.shield(work)
        except TimeoutError:
            self._start_task(self._take_back(work, call))
            events.limited("publish refused", call.address, why="no answer in time", client=call.address)
            raise Refused(503, _TOO_SLOW) from None
        finally:
            self._asking.discard(call.client)

    async def _take_back(self, work: asyncio.Task[str], call: HookCall) -> None:
        """End a publish that was let in only after its publisher had been refused."""
        await asyncio.wait([work])
        if not work.cancelled() and work.exception() is None:
            await self.unpublish(call)

    async def _publish(self, call: HookCall) -> str:
        """Let a publisher in, once every picture that it sends will be received; the public name of its stream.

        Raises:
            Refused: wrong key, disabled stream, somebody else publishes, or nothing can be received now.
            SpoolError: the spool can't be written to.
        """
        stream = await _thread(self._registry.find, call.key_hash)
        if stream is None or not stream.enabled:
            why = "no stream has this key" if stream is None else f"the stream {stream.name} is disabled"
            delay_s = self._tries.failed(call.address)
            events.limited("publish refused", call.address, why=why, client=call.address, key_hash=call.key_hint)
            await self._tries.hold(delay_s)
            # The publisher is not told which: both look the same from outside.
            raise Refused(403, "no enabled stream has this key; check it, or make a new one with: streamwave streams")
        async with self._locks[stream.name]:
            publish = await self._begin(stream, call.client, call.key_hash, call.address)
            source = self._receiver.rtmp_source(stream.name, publish.id)
            started = self._pulling[publish.id] = asyncio.Event()
            try:
                publish, process = await self._receive(publish, stream, source)
                if not await _first(started, process):
                    reason = f"the segmenter did not reach {shown(source)} within {PULL_TIMEOUT_S:g} s; see RTMP_URL"
                    await self._end(publish, reason, process)
                    events.warning("publish refused", stream=stream.name, why=reason, client=call.address)
                    raise Refused(503, reason)
            finally:
                del self._pulling[publish.id]
            await _thread(self._publishes.accept, publish)
        events.info("publish accepted", stream=stream.name, session=publish.path, client=call.address)
        self._tell(publish, stream, {"encoder": call.encoder})
        return stream.name

    async def left(self, call: HookCall) -> None:
        """Like ``unpublish``, which goes on by itself if it takes longer than ``ANSWER_S``."""
        work = self._start_task(self.unpublish(call))
        try:
            async with asyncio.timeout(ANSWER_S):
                await asyncio.shield(work)
        except TimeoutError:
            events.limited("end of a publish delayed", call.address, client=call.address)

    async def unpublish(self, call: HookCall) -> None:
        """A publisher has left: end its session, and no other."""
        publish = await self._of(call)
        if publish is None:
            events.limited("end of an unknown publish", call.address, client=call.address, key_hash=call.key_hint)
            return
        async with self._locks[publish.stream]:
            publish = await _thread(self._publishes.open_id, publish.id)
            if publish is not None:
                await self._end(publish, "publisher left")

    async def check(self, call: HookCall) -> None:
        """Whether a publisher may go on.

        Raises:
            Refused: it is unknown, its stream was disabled or its key changed, or it is received no more.
        """
        if call.client in self._asking:
            return
        publish = await self._of(call)
        if publish is None:
            raise Refused(403, "this publish is not known, or over")
        stream = await _thread(self._registry.find, call.key_hash)
        if stream is None or stream.name != publish.stream or not stream.enabled:
            events.limited("publish cut off", publish.id, stream=publish.stream, why="key void or stream disabled")
            raise Refused(403, f"the stream {publish.stream} was disabled, or its key changed")
        if not await self._receiving(publish):
            await self._revive(publish.id)
            publish = await _thread(self._publishes.open_id, publish.id)
            if publish is None or not await self._receiving(publish):
                raise Refused(503, "this publish is received no more; connect again")

    async def play(self, call: HookCall) -> Callable[[], None]:
        """Let a segmenter pull; what is returned is to be called when the RTMP server has our answer.

        A pull that names its publish is certainly ours, wherever it comes from. One that names none may come from this
        machine only. Both only while the stream is published.

        Raises:
            Refused: anybody else.
        """
        publish = await _thread(self._publishes.open_id, call.publish) if call.publish else None
        if not call.publish and is_loopback(call.address):
            publish = await _thread(self._publishes.open_of, call.name)
        if publish is None or publish.stream != call.name:
            events.limited("play refused", call.address, client=call.address)
            raise Refused(403, "only the segmenter may pull; viewers watch over HTTP")
        started = self._pulling.get(call.publish)
        return started.set if started is not None else lambda: None

    async def pull(self, stream: Stream, source: str) -> Publish:
        """Receive a source that we fetch ourselves, as a session of ``stream``.

        Raises:
            Refused: somebody else publishes this stream.
            SpoolError: the spool can't be written to.
        """
        async with self._locks[stream.name]:
            publish = await self._begin(stream, None, "", shown(source))
            publish, _process = await self._receive(publish, stream, source)
            await _thread(self._publishes.accept, publish)
        events.info("pull started", stream=stream.name, session=publish.path, source=shown(source))
        self._tell(publish, stream, {})
        return publish

    async def stop(self, name: str) -> Publish | None:
        """End the session of the stream ``name``, whoever publishes it; None if there is none."""
        async with self._locks[name]:
            publish = await _thread(self._publishes.open_of, name)
            if publish is not None:
                await self._end(publish, "stopped on request")
        return publish

    async def live(self) -> list[Publish]:
        """The publishes that are being received."""
        return [one for one in await _thread(self._publishes.open) if one.accepted and await self._receiving(one)]

    async def close(self) -> None:
        """Finish what is being said; segmenters go on."""
        if self._tasks:
            _done, late = await asyncio.wait(self._tasks, timeout=1)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        self._ending.shutdown(wait=False, cancel_futures=True)

    async def _begin(self, stream: Stream, client: Client | None, key_hash: str, address: str) -> Publish:
        """Note a publish, after ending one of the same stream that is certainly over."""
        current = await _thread(self._publishes.open_of, stream.name)
        if current is not None:
            if await self._is_over(current, client):
                await self._end(current, "replaced: its publisher is gone")
            else:
                events.limited(
                    "publish refused", f"{address} {stream.name}", stream=stream.name, why="is live", client=address
                )
                raise Refused(403, f"somebody else publishes {stream.name} at the moment")
        for count, window_s in windows(self._settings.max_sessions_per_minute):
            if await _thread(self._publishes.begun, stream.name, window_s) >= count:
                error = too_often(stream.name, count, window_s)
                events.limited("publish refused", f"{stream.name} too often", stream=stream.name, why=error)
                raise error
        client = client or Client(instance=PULLED, clientid=f"{time.time_ns()}")
        publish = await _thread(self._publishes.begin, stream.name, client, key_hash, address)
        if publish is None:
            raise Refused(403, f"somebody else publishes {stream.name} at the moment")
        return publish

    async def _is_over(self, current: Publish, client: Client | None) -> bool:
        if client is not None and current.client.instance != PULLED:
            # There is one RTMP server. Another start of it has lost all that the earlier one knew ...
            if client.instance != current.client.instance:
                return True
            # ... and a connection that publishes anew does not publish what it published before.
            if client.clientid == current.client.clientid:
                return True
        return not await self._receiving(current)

    async def _receive(
        self, publish: Publish, stream: Stream, source: str, *, pictures: bool = False
    ) -> tuple[Publish, subprocess.Popen[bytes]]:
        """Give ``publish`` a folder in the spool, and start its segmenter. If that fails the publish is over.

        ``pictures``: the source has some, even if they are late.
        """
        loop = asyncio.get_running_loop()

        def exited() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._start_task, self._exited(publish.id, folder))

        try:
            folder = await _thread(self._receiver.place, stream)
            publish = await _thread(self._publishes.place, publish, folder.parent.name, folder.name)
            pushed = publish.client.instance != PULLED
            start = functools.partial(self._receiver.start, renewable=pushed, pictures=pictures)
            process = await _thread(start, source, folder, exited)
            if process.poll() is None:
                self._segmenters[folder] = process
            return publish, process
        except (StreamLiveError, LimitError) as error:
            events.limited("publish refused", f"{publish.address} {stream.name}", stream=stream.name, why=error)
            await self._end(publish, str(error))
            raise
        except SpoolError as error:
            events.error("publish refused", stream=stream.name, why=error)
            await self._end(publish, str(error))
            raise

    async def _end(self, publish: Publish, reason: str, process: subprocess.Popen[bytes] | None = None) -> None:
        """Note the end at once, so that the next publisher is let in; the segmenter drains by itself meanwhile."""
        if not await _thread(self._publishes.end, publish, reason):
            return
        events.info("publish ended", stream=publish.stream, session=publish.path, client=publish.address, why=reason)
        folder = publish.folder(self._settings.spool_dir)
        if folder is not None:
            loop = asyncio.get_running_loop()
            self._start_task(_waited(loop.run_in_executor(self._ending, receive.stop, folder, process)))

    async def _exited(self, id: str, folder: Path) -> None:
        """The segmenter of a publish has exited; if it was killed, go on with another one."""
        self._segmenters.pop(folder, None)
        newest = await _thread(receive.newest, folder)
        end = await _thread(end_of, newest)
        if end is not None and end.error is not None:
            events.warning("receiving ended", session=newest.relative_to(self._settings.spool_dir), why=end.error)
        if end is None or end.reason in OTHER_KIND:
            await self._revive(id)
        publish = await _thread(self._publishes.open_id, id)
        if (
            publish is not None
            and publish.client.instance == PULLED
            and publish.folder(self._settings.spool_dir) == folder
        ):
            await self._end(publish, "its source ended")

    async def _revive(self, id: str) -> None:
        """Replace the segmenter of a publish that goes on, if that was killed; its pictures go to a new session.

        Or if it has found that they, or their absence, need a new broadcast.
        """
        publish = await _thread(self._publishes.open_id, id)
        if publish is None or not publish.accepted or publish.client.instance == PULLED:
            return
        async with self._locks[publish.stream]:
            publish = await _thread(self._publishes.open_id, id)
            folder = publish.folder(self._settings.spool_dir) if publish is not None else None
            if publish is None or folder is None or await self._receiving(publish):
                return
            newest = await _thread(receive.newest, folder)
            end = await _thread(end_of, newest)
            if end is not None and end.reason not in OTHER_KIND:
                return  # it could not read the source: a second one could not either
            if end is None:
                lived_ms = time.time_ns() // 1_000_000 - await _thread(receive.created_ms, folder)
                await _thread(receive.seal, newest, "the segmenter died")
                if lived_ms < REVIVE_MS:
                    return  # nginx is told with the next update
            else:
                await _thread(BroadcastSpool(folder.parent).close)
            stream = await _thread(self._registry.find, publish.key_hash)
            if stream is None:
                return
            source = self._receiver.rtmp_source(stream.name, publish.id)
            begin = end is not None and end.reason == PICTURES_BEGIN
            publish, _process = await self._receive(publish, stream, source, pictures=begin)
        why = "it died" if end is None else f"{end.reason}, so another broadcast does"
        events.warning("segmenter replaced", why=why, stream=stream.name, session=publish.path)
        self._tell(publish, stream, {})

    async def _of(self, call: HookCall) -> Publish | None:
        """The publish of the connection that calls. The key has to be the one that it published with."""
        publish = await _thread(self._publishes.open_by, call.client)
        return publish if publish is not None and publish.key_hash == call.key_hash else None

    async def _receiving(self, publish: Publish) -> bool:
        folder = publish.folder(self._settings.spool_dir)
        if folder is None:
            return False
        # A segmenter of ours that runs counts before it has taken its lock, too.
        process = self._segmenters.get(folder)
        return (process is not None and process.poll() is None) or await _thread(writer_alive, folder)

    def _tell(self, publish: Publish, stream: Stream, metadata: dict[str, str]) -> None:
        self._start_task(self._processing.started(publish.path, stream.name, {"title": stream.title, **metadata}))

    def _start_task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, SQLAlchemyError):
            # Its text can hold the statement's parameters; the kind alone is safe.
            events.error("database failed", kind=type(getattr(error, "orig", None) or error).__name__)
        elif error is not None and not isinstance(error, Refused | LimitError):  # that was said where it was decided
            events.error("work in the background failed", why=repr(error))


async def _first(started: asyncio.Event, process: subprocess.Popen[bytes]) -> bool:
    """Wait until the segmenter pulls; False if it exits or takes too long."""
    end = time.monotonic() + PULL_TIMEOUT_S
    while not started.is_set() and process.poll() is None and time.monotonic() < end:
        try:
            async with asyncio.timeout(0.1):
                await started.wait()
        except TimeoutError:
            continue
    return started.is_set()


async def _waited(future: asyncio.Future[T]) -> T:
    return await future


async def _thread(work: Callable[..., T], *arguments: Any) -> T:
    return await asyncio.to_thread(work, *arguments)
