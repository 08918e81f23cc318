"""Run a command and measure what it and all its descendants use."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """CPU seconds (user and system, of all descendants that have been waited for) and wall-clock seconds."""

    cpu_s: float
    wall_s: float


def run(argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None) -> Cost:
    """Run ``argv`` to its end; CalledProcessError, with its output, if it fails."""
    before = os.times()
    started = time.monotonic()
    subprocess.run(argv, check=True, timeout=timeout_s, env=env, stdin=subprocess.DEVNULL, capture_output=True)
    after = os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(cpu_s, time.monotonic() - started)
