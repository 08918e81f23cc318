"""Background tasks: failures are logged without secrets, and ``close`` does not wait for ever."""

from __future__ import annotations

import asyncio
import logging

import pytest
from sqlalchemy.exc import OperationalError

from services.ingest import background
from services.ingest.background import Background
from services.ingest.refusal import Refused


def failing(error: Exception) -> None:
    """Run a background task that raises ``error``."""

    async def fail() -> None:
        raise error

    async def run() -> None:
        tasks = Background()
        await asyncio.wait([tasks.start(fail())])
        await tasks.close()

    asyncio.run(run())


def test_an_unexpected_failure_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    failing(ValueError("broken"))
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "background task failed" in caplog.text and "broken" in caplog.text


def test_a_failure_of_the_database_is_logged_without_its_parameters(caplog: pytest.LogCaptureFixture) -> None:
    failing(OperationalError("SELECT", {"key": "a-secret"}, OSError("a-secret")))
    assert "database failed kind=OSError" in caplog.text
    assert "a-secret" not in caplog.text


def test_a_refusal_was_logged_where_it_was_raised(caplog: pytest.LogCaptureFixture) -> None:
    failing(Refused(403, "no"))
    assert caplog.records == []


def test_close_waits_for_a_task_and_then_cancels_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "CLOSE_S", 0.2)

    async def run() -> tuple[bool, bool]:
        tasks, release = Background(), asyncio.Event()
        soon, never = tasks.start(release.wait()), tasks.start(asyncio.Event().wait())
        asyncio.get_running_loop().call_later(0.01, release.set)
        await tasks.close()
        return soon.result(), never.cancelled()

    assert asyncio.run(run()) == (True, True)
