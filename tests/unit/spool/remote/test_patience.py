"""A request is repeated while the store refuses, for a limited time."""

from __future__ import annotations

import pytest

from streamwave.errors import FencedError, OutputError
from streamwave.spool.remote import patience as module
from streamwave.spool.remote.patience import patiently


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.01)


class Refusing:
    """Refuses so many times."""

    def __init__(self, times: int) -> None:
        self.times = times

    def __call__(self) -> str:
        self.times -= 1
        if self.times >= 0:
            raise OutputError("no")
        return "yes"


def test_until_it_is_accepted_or_the_time_is_over() -> None:
    assert patiently(Refusing(3), 60) == "yes"
    with pytest.raises(OutputError, match="no"):
        patiently(Refusing(10**9), 0.05)


def test_the_check_ends_it() -> None:
    def check() -> None:
        raise FencedError("replaced")

    with pytest.raises(FencedError):
        patiently(Refusing(10**9), 60, check)
