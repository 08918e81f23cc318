"""One state, and its words in lists, in a status and in an entry."""

from __future__ import annotations

import json

import pytest

from streamwave.model import State


def test_words_that_are_stored() -> None:
    assert {state.in_status for state in State} >= {"starting", "live", "waiting", "finishing", "finished", "failed"}
    assert (State.LIVE.in_entry, State.RECORDED.in_entry, State.DELETED.in_entry) == ("live", "ended", "deleted")
    assert json.dumps([State.RECORDED, State.RECORDED.in_entry]) == '["recorded", "ended"]'
    assert f"{State.CUT_OFF}" == "cut off"


@pytest.mark.parametrize("state", State)
def test_words_are_read_back(state: State) -> None:
    assert State.of_status(state.in_status) is state and State.of_entry(state.in_entry) is state


@pytest.mark.parametrize("word", [None, 7, [], "", "recording"])
def test_words_of_others(word: object) -> None:
    assert State.of_status(word) is None and State.of_entry(word) is None
