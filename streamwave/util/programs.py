"""Run a program to ask for its version or capabilities."""

from __future__ import annotations

import os
import subprocess
import threading
from functools import lru_cache

#: A version query takes milliseconds; a program that has not answered by then is not the one expected.
_ANSWER_TIMEOUT_S = 20

_asking = threading.Lock()


def ask(program: str, *arguments: str) -> str:
    """What ``program``, a path, prints; empty if it cannot be started or does not answer.

    It is asked again only if the file has changed: FFmpeg takes longer to start than to answer.
    """
    try:
        found = os.stat(program)
        with _asking:  # the threads of several chunks ask the same at the same time
            return _ask(program, arguments, (found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns))
    except (OSError, subprocess.TimeoutExpired):
        return ""


@lru_cache(maxsize=64)
def _ask(program: str, arguments: tuple[str, ...], _as_it_is: tuple[int, ...]) -> str:
    answer = subprocess.run(
        [program, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=_ANSWER_TIMEOUT_S,
        check=False,
    )
    return answer.stdout.decode("utf-8", "replace")
