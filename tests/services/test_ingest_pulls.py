"""A publisher waits until its segmenter pulls; a segmenter that exits or never pulls is noticed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from services.ingest import pulls
from services.ingest.pulls import Pulls


@pytest.fixture
def segmenter() -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs until its standard input closes."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_pull_that_begins_ends_the_wait(segmenter: subprocess.Popen[bytes]) -> None:
    async def run() -> bool:
        awaited = Pulls()
        with awaited.awaiting("one"):
            waiting = asyncio.create_task(awaited.wait("one", segmenter))
            await asyncio.sleep(0)
            awaited.began("another")  # nobody waits for this one
            assert not waiting.done()
            awaited.began("one")
            return await waiting

    assert asyncio.run(run())


def test_a_pull_that_began_before_the_wait_counts(segmenter: subprocess.Popen[bytes]) -> None:
    async def run() -> bool:
        awaited = Pulls()
        with awaited.awaiting("one"):
            awaited.began("one")
            return await awaited.wait("one", segmenter)

    assert asyncio.run(run())


def test_a_segmenter_that_exits_is_not_waited_for(segmenter: subprocess.Popen[bytes]) -> None:
    segmenter.kill()
    segmenter.wait()

    async def run() -> bool:
        awaited = Pulls()
        with awaited.awaiting("one"):
            return await awaited.wait("one", segmenter)

    began = time.monotonic()
    assert not asyncio.run(run())
    assert time.monotonic() - began < pulls.PULL_TIMEOUT_S


def test_a_segmenter_that_never_pulls_is_given_up(
    segmenter: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulls, "PULL_TIMEOUT_S", 0.2)

    async def run() -> bool:
        awaited = Pulls()
        with awaited.awaiting("one"):
            return await awaited.wait("one", segmenter)

    assert not asyncio.run(run())
    assert segmenter.poll() is None
