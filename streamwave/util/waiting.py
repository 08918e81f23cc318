"""Wait for a condition, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], timeout_s: float, step_s: float = 0.02) -> bool:
    """Poll ``condition`` until it is true or ``timeout_s`` has passed; return whether it became true."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= end:
            return False
        time.sleep(step_s)
    return True
