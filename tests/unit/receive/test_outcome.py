"""Each failure becomes a reason that programs understand and a sentence for people."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from streamwave.errors import LimitError, SourceError
from streamwave.receive.outcome import OtherKind, Outcome, outcome_of
from streamwave.spool.journal import LIMIT_REACHED, PICTURES_BEGIN, SEGMENTER_FAILED, SPOOL_FAILED
from streamwave.spool.options import Options

OPTIONS = Options(source="rtmp://host/app/key", spool=Path("spool"))


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        (OtherKind(PICTURES_BEGIN), Outcome(PICTURES_BEGIN)),
        (LimitError("too much"), Outcome(LIMIT_REACHED, "too much")),
        (SourceError("it is gone"), Outcome("source failed", "it is gone")),
        (OSError(28, "No space left"), Outcome(SPOOL_FAILED, "the spool spool cannot be written (No space left)")),
    ],
)
def test_failures_that_are_foreseen(failure: Exception, outcome: Outcome) -> None:
    assert outcome_of(failure, OPTIONS, Path("spool")) == outcome


def test_a_bug_is_in_the_log_and_the_key_in_no_message(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        outcome = outcome_of(ValueError("two\nlines"), OPTIONS, Path("spool"))
    assert outcome.reason == SEGMENTER_FAILED and outcome.error is not None
    assert "can no longer be cut into chunks (ValueError: two); convert it to H.264" in outcome.error
    assert "key" not in outcome.error and "could not be cut into chunks" in caplog.text
    memory = outcome_of(MemoryError(), OPTIONS, Path("spool")).error
    assert memory is not None and "memory" in memory
