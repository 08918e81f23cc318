"""Sessions: who publishes which stream now. The database records publishes; locks in the spool show which are received."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable
from typing import TypeVar

from services.ingest.background import Background
from services.ingest.call import HookCall
from services.ingest.guard import is_loopback
from services.ingest.keys import Keys
from services.ingest.log import events
from services.ingest.processing import Processing
from services.ingest.pulls import PULL_TIMEOUT_S, Pulls
from services.ingest.reception import PULLED, Reception
from services.ingest.refusal import Refused
from services.ingest.segmenters import rtmp_source
from streamwave.config.settings import Settings
from streamwave.sources.address import shown
from streamwave.spool.pace import too_often, windows
from streamwave.streams.publishes import Client, Publish, Publishes
from streamwave.streams.registry import Registry, Stream

#: Every hook is answered within this time: nginx-rtmp gives up after 10 s and would not learn of a later answer.
ANSWER_S = 7.0

T = TypeVar("T")


class Sessions:
    """Decides who may publish. Runs in one event loop; blocking calls run in threads.

    The stream's lock (``Reception.locks``) keeps the events of a stream in order.
    """

    def __init__(self, settings: Settings, registry: Registry, publishes: Publishes, processing: Processing) -> None:
        self._settings, self._publishes = settings, publishes
        self._keys = Keys(registry)
        self._background = Background()
        self._reception = Reception(settings, registry, publishes, processing, self._background)
        self._pulls = Pulls()
        self._asking: set[Client] = set()  # connections whose publish hook has not been answered

    async def recover(self) -> None:
        """At start: end publishes that were never accepted, and those that ended while the service was down."""
        for publish in await _thread(self._publishes.open):
            if not publish.accepted or not await self._reception.receiving(publish):
                await self._reception.end(publish, "ended while the ingest service was down")
            else:
                events.info("publish goes on", stream=publish.stream, session=publish.path, client=publish.address)

    async def publish(self, call: HookCall) -> str:
        """Accept a publisher within ``ANSWER_S``, once its segmenter receives; the public name of its stream.

        Raises:
            Refused: the key is wrong, the stream disabled or published by somebody else, or receiving cannot start now.
            LimitError: the stream's limits do not allow another session.
            SpoolError: the spool cannot be written.
        """
        # nginx-rtmp sends update hooks for a connection from now on, before its publish hook is answered.
        self._asking.add(call.client)
        work = self._background.start(self._accept(call))
        try:
            async with asyncio.timeout(ANSWER_S):
                return await asyncio.shield(work)
        except TimeoutError:
            self._background.start(self._undo(work, call))
            events.limited("publish refused", call.address, why="no answer in time", client=call.address)
            raise Refused(503, "the ingest service is too slow now (disk, database or CPU); connect again") from None
        finally:
            self._asking.discard(call.client)

    async def _undo(self, work: asyncio.Task[str], call: HookCall) -> None:
        """End a publish that was accepted after nginx-rtmp had already been told to refuse it."""
        await asyncio.wait([work])
        if not work.cancelled() and work.exception() is None:
            await self.unpublish(call)

    async def _accept(self, call: HookCall) -> str:
        stream = await self._keys.stream_of(call)
        async with self._reception.locks[stream.name]:
            publish = await self._claim(stream, call.client, call.key_hash, call.address)
            source = rtmp_source(self._settings, stream.name, publish.id)
            with self._pulls.awaiting(publish.id):
                publish, process = await self._reception.begin(publish, stream, source)
                if not await self._pulls.wait(publish.id, process):
                    reason = f"the segmenter did not reach {shown(source)} within {PULL_TIMEOUT_S:g} s; see RTMP_URL"
                    await self._reception.end(publish, reason, process)
                    events.warning("publish refused", stream=stream.name, why=reason, client=call.address)
                    raise Refused(503, reason)
            await _thread(self._publishes.accept, publish)
        events.info("publish accepted", stream=stream.name, session=publish.path, client=call.address)
        self._reception.announce(publish, stream, {"encoder": call.encoder})
        return stream.name

    async def left(self, call: HookCall) -> None:
        """Like ``unpublish``, but return after ``ANSWER_S`` at the latest and let the rest continue in the background."""
        work = self._background.start(self.unpublish(call))
        try:
            async with asyncio.timeout(ANSWER_S):
                await asyncio.shield(work)
        except TimeoutError:
            events.limited("end of a publish delayed", call.address, client=call.address)

    async def unpublish(self, call: HookCall) -> None:
        """End the session of a publisher that has disconnected, and no other session."""
        publish = await self._publish_of(call)
        if publish is None:
            events.limited("end of an unknown publish", call.address, client=call.address, key_hash=call.key_hint)
            return
        async with self._reception.locks[publish.stream]:
            publish = await _thread(self._publishes.open_id, publish.id)
            if publish is not None:
                await self._reception.end(publish, "publisher left")

    async def check(self, call: HookCall) -> None:
        """Return if a publisher may stay connected.

        Raises:
            Refused: its publish is unknown, its stream was disabled, its key changed, or no segmenter can receive it.
        """
        if call.client in self._asking:
            return
        publish = await self._publish_of(call)
        if publish is None:
            raise Refused(403, "this publish is unknown or has ended")
        if not await self._keys.opens(call, publish.stream):
            events.limited("publish cut off", publish.id, stream=publish.stream, why="key changed or stream disabled")
            raise Refused(403, f"the stream {publish.stream} was disabled, or its key changed")
        if not await self._reception.receiving(publish):
            await self._reception.revive(publish.id)
            publish = await _thread(self._publishes.open_id, publish.id)
            if publish is None or not await self._reception.receiving(publish):
                raise Refused(503, "this publish is no longer received; connect again")

    async def play(self, call: HookCall) -> Callable[[], None]:
        """Allow a segmenter to pull. The caller calls what this returns once nginx-rtmp has the answer.

        A pull that names a publish id comes from our segmenter, whatever its address. A pull without one is allowed
        from this machine only. In both cases the stream must be live.

        Raises:
            Refused: the puller is somebody else.
        """
        publish = await _thread(self._publishes.open_id, call.publish) if call.publish else None
        if not call.publish and is_loopback(call.address):
            publish = await _thread(self._publishes.open_of, call.name)
        if publish is None or publish.stream != call.name:
            events.limited("play refused", call.address, client=call.address)
            raise Refused(403, "only the segmenter may pull; viewers watch over HTTP")
        return functools.partial(self._pulls.began, call.publish)

    async def pull(self, stream: Stream, source: str) -> Publish:
        """Receive ``source``, which our segmenter fetches itself, as a session of ``stream``.

        Raises:
            Refused: the stream is live.
            LimitError: the stream's limits do not allow another session.
            SpoolError: the spool cannot be written.
        """
        async with self._reception.locks[stream.name]:
            publish = await self._claim(stream, None, "", shown(source))
            publish, _process = await self._reception.begin(publish, stream, source)
            await _thread(self._publishes.accept, publish)
        events.info("pull started", stream=stream.name, session=publish.path, source=shown(source))
        self._reception.announce(publish, stream, {})
        return publish

    async def stop(self, name: str) -> Publish | None:
        """End the current session of the stream ``name``; None if the stream is not live."""
        async with self._reception.locks[name]:
            publish = await _thread(self._publishes.open_of, name)
            if publish is not None:
                await self._reception.end(publish, "stopped on request")
        return publish

    async def live(self) -> list[Publish]:
        """The publishes that are being received."""
        accepted = [publish for publish in await _thread(self._publishes.open) if publish.accepted]
        return [publish for publish in accepted if await self._reception.receiving(publish)]

    async def close(self) -> None:
        """End background tasks; segmenters keep running."""
        await self._background.close()
        self._reception.close()

    async def _claim(self, stream: Stream, client: Client | None, key_hash: str, address: str) -> Publish:
        """Open a publish of ``stream`` for ``client`` (None: pulled), after ending an earlier one that is over.

        Raises:
            Refused: the stream is live.
            LimitError: too many sessions of the stream began recently.
        """
        current = await _thread(self._publishes.open_of, stream.name)
        if current is not None:
            if not await self._is_over(current, client):
                events.limited(
                    "publish refused", f"{address} {stream.name}", stream=stream.name, why="is live", client=address
                )
                raise _live(stream)
            await self._reception.end(current, "replaced: its publisher is gone")
        for count, window_s in windows(self._settings.max_sessions_per_minute):
            if await _thread(self._publishes.begun, stream.name, window_s) >= count:
                error = too_often(stream.name, count, window_s)
                events.limited("publish refused", f"{stream.name} too often", stream=stream.name, why=error)
                raise error
        client = client or Client(instance=PULLED, clientid=f"{time.time_ns()}")
        publish = await _thread(self._publishes.begin, stream.name, client, key_hash, address)
        if publish is None:
            raise _live(stream)
        return publish

    async def _is_over(self, current: Publish, client: Client | None) -> bool:
        if client is not None and current.client.instance != PULLED:
            # A restarted RTMP server has lost the connections of its predecessor ...
            if client.instance != current.client.instance:
                return True
            # ... and a connection that publishes again has ended its previous publish.
            if client.clientid == current.client.clientid:
                return True
        return not await self._reception.receiving(current)

    async def _publish_of(self, call: HookCall) -> Publish | None:
        """The open publish of the connection that calls, if it was begun with the same key."""
        publish = await _thread(self._publishes.open_by, call.client)
        return publish if publish is not None and publish.key_hash == call.key_hash else None


def _live(stream: Stream) -> Refused:
    return Refused(403, f"somebody else publishes {stream.name} at the moment")


async def _thread(work: Callable[..., T], *arguments: object) -> T:
    return await asyncio.to_thread(work, *arguments)
