"""Decides which stream the key of a hook call opens; wrong keys are logged, and delayed when they are many."""

from __future__ import annotations

import asyncio

from services.ingest.call import HookCall
from services.ingest.log import events
from services.ingest.refusal import Refused
from services.ingest.throttle import KeyThrottle
from streamwave.streams.registry import Registry, Stream


class Keys:
    """The keys of ``registry``. Used from one event loop."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._throttle = KeyThrottle()

    async def stream_of(self, call: HookCall) -> Stream:
        """The enabled stream that the key of ``call`` opens.

        Raises:
            Refused: there is none. Whether the key is wrong or the stream disabled is only logged.
        """
        stream = await asyncio.to_thread(self._registry.find, call.key_hash)
        if stream is not None and stream.enabled:
            return stream
        why = "no stream has this key" if stream is None else f"the stream {stream.name} is disabled"
        delay_s = self._throttle.failed(call.address)
        events.limited("publish refused", call.address, why=why, client=call.address, key_hash=call.key_hint)
        await self._throttle.hold(delay_s)
        raise Refused(403, "no enabled stream has this key; check it, or make a new one with: streamwave streams")

    async def opens(self, call: HookCall, name: str) -> bool:
        """Whether the key of ``call`` still opens the stream ``name``; neither logged nor delayed."""
        stream = await asyncio.to_thread(self._registry.find, call.key_hash)
        return stream is not None and stream.name == name and stream.enabled
