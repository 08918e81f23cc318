"""Publishes whose segmenter has not connected to the RTMP server yet: a publisher is accepted only once it has."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

#: A segmenter must start to pull within this time; nginx-rtmp waits 10 s for the answer to its publish hook.
PULL_TIMEOUT_S = 5.0


class Pulls:
    """The pulls that are awaited, by publish id. All calls come from one event loop."""

    def __init__(self) -> None:
        self._awaited: dict[str, asyncio.Event] = {}

    @contextmanager
    def awaiting(self, publish_id: str) -> Iterator[None]:
        """Register ``publish_id`` before its segmenter starts, so that no pull is missed."""
        self._awaited[publish_id] = asyncio.Event()
        try:
            yield
        finally:
            del self._awaited[publish_id]

    def began(self, publish_id: str) -> None:
        """Record that the segmenter of ``publish_id`` pulls; ignored if nobody waits for it."""
        if publish_id in self._awaited:
            self._awaited[publish_id].set()

    async def wait(self, publish_id: str, process: subprocess.Popen[bytes]) -> bool:
        """Whether the segmenter ``process`` pulls within ``PULL_TIMEOUT_S``; False as soon as it exits."""
        started = self._awaited[publish_id]
        end = time.monotonic() + PULL_TIMEOUT_S
        while not started.is_set() and process.poll() is None and time.monotonic() < end:
            try:
                async with asyncio.timeout(0.1):
                    await started.wait()
            except TimeoutError:
                continue
        return started.is_set()
