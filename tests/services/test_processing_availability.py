"""When the absence of Prefect's server is logged, and when it is not."""

from __future__ import annotations

import logging

import pytest

from services.processing.availability import LATE_S, Availability


def test_a_server_that_starts_beside_us_is_not_missed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    told: list[bool] = []
    server = Availability(told.append, 100.0)
    for second in range(int(LATE_S)):
        server.note("no answer", 100.0 + second)
    server.note("", 100.0 + LATE_S - 0.5)
    server.note("", 100.0 + LATE_S + 10)
    assert caplog.messages == []
    assert told == [False, True]


def test_one_that_goes_away_is_missed_at_once_and_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    told: list[bool] = []
    server = Availability(told.append, 100.0)
    for fault in ("", "no answer", "no answer", "", "no answer"):
        server.note(fault, 101.0)
    assert [message.split(";")[0] for message in caplog.messages] == [
        "no answer", "Prefect's server answers again", "no answer",
    ]  # fmt: skip
    assert told == [True, False, True, False]
    assert server.healthy is False


def test_one_that_does_not_come_is_missed_when_it_is_late(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    server = Availability(lambda healthy: None, 100.0)
    server.note("no answer", 100.0)
    assert caplog.messages == []
    for second in range(3):
        server.note("no answer", 100.0 + LATE_S + second)
    assert [message.split(";")[0] for message in caplog.messages] == ["no answer"]
    server.note("", 200.0)
    assert caplog.messages[1:] == ["Prefect's server answers"]
