"""Reception: what turns a publish into a session in the spool, for as long as the publisher sends."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import time
from collections import defaultdict
from enum import Enum
from pathlib import Path

from services.ingest.background import Background
from services.ingest.log import events
from services.ingest.processing import Processing
from services.ingest.segmenters import Segmenters, newest_session, rtmp_source, seal, started_ms
from streamwave.config.settings import Settings
from streamwave.errors import LimitError, SpoolError
from streamwave.spool.broadcast import BroadcastSpool, StreamLiveError
from streamwave.spool.journal import OTHER_KIND, PICTURES_BEGIN, EndRecord, end_of
from streamwave.streams.publishes import Publish, Publishes
from streamwave.streams.registry import Registry, Stream

#: ``instance`` of publishes that this service pulls itself instead of receiving them from a publisher.
PULLED = "pull"
#: A segmenter that died sooner than this after its start is not replaced: its replacement would die too.
REVIVE_MS = 5_000


class Successor(Enum):
    """What follows a segmenter that exited while its publisher is still connected."""

    SESSION = "another session of the same broadcast"  # the segmenter was killed
    BROADCAST = "another broadcast"  # video began or ended, which one broadcast cannot express
    NONE = "nothing"


def successor(end: EndRecord | None, lived_ms: int) -> Successor:
    """What follows a segmenter whose last session has the end record ``end`` (None: it was killed)."""
    if end is None:
        return Successor.SESSION if lived_ms >= REVIVE_MS else Successor.NONE
    # Any other end record says that the source cannot be read, so a second segmenter would fail as well.
    return Successor.BROADCAST if end.reason in OTHER_KIND else Successor.NONE


class Reception:
    """Gives each publish a segmenter, replaces one that was killed, and ends it with the publish.

    ``locks`` serialise what happens to a stream; callers of ``begin`` and ``end`` hold the stream's lock.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        publishes: Publishes,
        processing: Processing,
        background: Background,
    ) -> None:
        self._settings, self._registry, self._publishes = settings, registry, publishes
        self._processing, self._background = processing, background
        self._segmenters = Segmenters(settings)
        self.locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def begin(
        self, publish: Publish, stream: Stream, source: str, *, pictures: bool = False
    ) -> tuple[Publish, subprocess.Popen[bytes]]:
        """Create a session for ``publish`` and start its segmenter; end the publish if that fails.

        ``pictures``: the source has video, even if it begins late.

        Raises:
            StreamLiveError, LimitError, SpoolError: see ``Segmenters``.
        """
        loop = asyncio.get_running_loop()

        def exited() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._background.start, self._exited(publish.id, folder))

        try:
            folder = await asyncio.to_thread(self._segmenters.create_session, stream)
            publish = await asyncio.to_thread(self._publishes.place, publish, folder.parent.name, folder.name)
            pushed = publish.client.instance != PULLED
            start = functools.partial(self._segmenters.start, renewable=pushed, pictures=pictures)
            return publish, await asyncio.to_thread(start, source, folder, exited)
        except (StreamLiveError, LimitError) as error:
            events.limited("publish refused", f"{publish.address} {stream.name}", stream=stream.name, why=error)
            await self.end(publish, str(error))
            raise
        except SpoolError as error:
            events.error("publish refused", stream=stream.name, why=error)
            await self.end(publish, str(error))
            raise

    async def end(self, publish: Publish, reason: str, process: subprocess.Popen[bytes] | None = None) -> None:
        """Record the end of ``publish`` and have its segmenter stopped in the background.

        The next publisher of the stream can be accepted as soon as this returns. ``process``: see ``stop_session``.
        """
        if not await asyncio.to_thread(self._publishes.end, publish, reason):
            return
        events.info("publish ended", stream=publish.stream, session=publish.path, client=publish.address, why=reason)
        folder = publish.folder(self._settings.spool_dir)
        if folder is not None:
            self._background.start(self._segmenters.stop(folder, process))

    async def receiving(self, publish: Publish) -> bool:
        """Whether a segmenter receives ``publish``."""
        folder = publish.folder(self._settings.spool_dir)
        return folder is not None and await asyncio.to_thread(self._segmenters.receiving, folder)

    async def revive(self, publish_id: str) -> None:
        """Start another segmenter for a publish whose segmenter has exited, if its publisher is still connected."""
        publish = await asyncio.to_thread(self._publishes.open_id, publish_id)
        if publish is None or not publish.accepted or publish.client.instance == PULLED:
            return
        async with self.locks[publish.stream]:
            publish = await asyncio.to_thread(self._publishes.open_id, publish_id)
            folder = publish.folder(self._settings.spool_dir) if publish is not None else None
            if publish is None or folder is None or await self.receiving(publish):
                return
            newest = await asyncio.to_thread(newest_session, folder)
            end = await asyncio.to_thread(end_of, newest)
            lived_ms = time.time_ns() // 1_000_000 - await asyncio.to_thread(started_ms, folder)
            if end is None:
                await asyncio.to_thread(seal, newest, "the segmenter died")
            following = successor(end, lived_ms)
            if following is Successor.NONE:
                return  # the next update hook is refused, so nginx-rtmp disconnects the publisher
            if following is Successor.BROADCAST:
                await asyncio.to_thread(BroadcastSpool(folder.parent).close)
            stream = await asyncio.to_thread(self._registry.find, publish.key_hash)
            if stream is None:
                return
            source = rtmp_source(self._settings, stream.name, publish.id)
            video_begins = end is not None and end.reason == PICTURES_BEGIN
            publish, _process = await self.begin(publish, stream, source, pictures=video_begins)
        why = "segmenter died" if end is None else f"{end.reason}: continues as {following.value}"
        events.warning("segmenter replaced", why=why, stream=stream.name, session=publish.path)
        self.announce(publish, stream, {})

    def announce(self, publish: Publish, stream: Stream, metadata: dict[str, str]) -> None:
        """Tell the processing service, in the background, that the session of ``publish`` has begun."""
        self._background.start(self._processing.started(publish.path, stream.name, {"title": stream.title, **metadata}))

    def close(self) -> None:
        """Stop waiting for segmenters that are ending; they and all others keep running."""
        self._segmenters.close()

    async def _exited(self, publish_id: str, folder: Path) -> None:
        """React to the exit of the segmenter that received ``publish_id`` into ``folder``."""
        newest = await asyncio.to_thread(newest_session, folder)
        end = await asyncio.to_thread(end_of, newest)
        if end is not None and end.error is not None:
            events.warning("receiving ended", session=newest.relative_to(self._settings.spool_dir), why=end.error)
        if end is None or end.reason in OTHER_KIND:
            await self.revive(publish_id)
        publish = await asyncio.to_thread(self._publishes.open_id, publish_id)
        if (
            publish is not None
            and publish.client.instance == PULLED
            and publish.folder(self._settings.spool_dir) == folder
        ):
            await self.end(publish, "its source ended")
