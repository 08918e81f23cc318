"""The end of a broadcast: one complete output is enough, the others get their time."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from streamwave.errors import FencedError, OutputError
from streamwave.publish.completion import Completion
from streamwave.publish.standing import Standing


class State(Standing):
    """The state of outputs that are given."""

    def __init__(self, *outputs: SimpleNamespace) -> None:
        self.queues = cast(Any, outputs)


def output(*, finished: bool = False, error: str | None = None, fatal: Exception | None = None) -> SimpleNamespace:
    return SimpleNamespace(finished=finished, error=error, fatal=fatal)


def completion(*outputs: SimpleNamespace, patience_s: float = 60) -> Completion:
    return Completion(State(*outputs), threading.Condition(), patience_s)


def test_one_complete_output_is_enough() -> None:
    ends = completion(output(error="refused"), output(finished=True))
    ends.wait_for_first()
    assert ends.begun and 0 < ends.patience_left_s <= 60
    assert not ends.wait_for_others(0)


def test_all_outputs_refuse() -> None:
    with pytest.raises(OutputError, match="first"):
        completion(output(error="first"), output(error="second"), patience_s=0).wait_for_first()
    with pytest.raises(FencedError):
        completion(output(fatal=FencedError("another run")), output()).wait_for_first()


def test_an_output_without_an_error_may_take_longer_than_the_limit() -> None:
    late, looks = output(), []
    ends = completion(output(finished=True), late)
    ends.wait_for_first()
    assert not ends.wait_for_others(0, until_tried=False)

    def meanwhile() -> None:
        looks.append(late.finished)
        late.finished = len(looks) == 2

    assert ends.wait_for_others(0, meanwhile) and looks == [False, False]


def test_hurry_ends_the_waiting() -> None:
    ends = completion(output(finished=True), output())
    ends.wait_for_first()
    assert not ends.wait_for_others(60, ends.hurry)


def test_an_output_that_has_failed_for_good_is_not_waited_for() -> None:
    ends = completion(output(finished=True), output(error="x", fatal=ValueError("x")))
    ends.wait_for_first()
    assert not ends.wait_for_others(60)
