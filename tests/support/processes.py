"""Processes of the tests: found by a mark in their environment."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

#: A variable that every process inherits; its value tells which test it belongs to.
MARK = "TESTS_PROCESS_MARK"

#: A condition is asked for the next time after this time or, if asking is slow, after twenty times what it took.
POLL_S = 0.05

T = TypeVar("T")


def wait_for(condition: Callable[[], T], what: str, timeout_s: float = 120) -> T:
    """Poll ``condition`` until its result is true, and return that."""
    end = time.monotonic() + timeout_s
    while True:
        asked = time.monotonic()
        if answer := condition():
            return answer
        assert time.monotonic() < end, f"waited {timeout_s:g} s in vain for {what}"
        # Some look at all processes of the machine, and would keep from working what they wait for.
        time.sleep(min(max(POLL_S, 20 * (time.monotonic() - asked)), 0.5))


def marked(mark: str) -> dict[int, list[str]]:
    """Command lines, by PID, of running processes whose environment has ``mark`` or ``mark.N``. Zombies do not count."""
    wanted = (f"{MARK}={mark}\0".encode(), f"{MARK}={mark}.".encode())
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            environment = (folder / "environ").read_bytes()
            if any(one in environment for one in wanted):
                found[int(folder.name)] = command_line(int(folder.name))
        except OSError:  # it has ended meanwhile, or belongs to another user
            continue
    return {pid: command for pid, command in found.items() if command}


def kill(pid: int) -> None:
    """Kill a leftover process of a test; refuses to kill the process of the tests itself."""
    assert pid > 0 and pid != os.getpid(), f"process {pid} is not a test's"
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def program(pid: int) -> str:
    """File name of the program that a process runs; empty if the process is gone."""
    try:
        return Path(os.readlink(f"/proc/{pid}/exe")).name
    except OSError:
        return ""


def command_line(pid: int) -> list[str]:
    """The arguments of a process; empty if the process is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")[:-1]
    except OSError:
        return []


def descendants(pid: int) -> list[int]:
    """All descendants of a process."""
    found = [pid]
    for one in found:
        for listed in Path(f"/proc/{one}/task").glob("*/children"):
            with suppress(OSError):
                found += map(int, listed.read_text().split())
    return found[1:]


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False
