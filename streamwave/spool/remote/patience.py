"""Requests to a store that are repeated while it refuses."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from streamwave.errors import OutputError

FIRST_PAUSE_S = 0.25
#: Longest pause between two attempts.
LONGEST_PAUSE_S = 4.0

T = TypeVar("T")


def patiently(ask: Callable[[], T], limit_s: float, check: Callable[[], None] = lambda: None) -> T:
    """The result of ``ask``, which is repeated while it raises OutputError, with growing pauses, for ``limit_s``.

    ``check`` is called before each pause, and may end the waiting by raising.

    Raises:
        OutputError: the store has refused for that long.
    """
    end, pause_s = time.monotonic() + limit_s, FIRST_PAUSE_S
    while True:
        try:
            return ask()
        except OutputError:
            if time.monotonic() + pause_s > end:
                raise
            check()
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
