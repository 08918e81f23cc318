"""Run a program to ask for its version or capabilities."""

from __future__ import annotations

import subprocess

#: A version query takes milliseconds; a program that has not answered by then is not the one expected.
_ANSWER_TIMEOUT_S = 20


def ask(program: str, *arguments: str) -> str:
    """What ``program`` prints; empty if it cannot be started or does not answer."""
    try:
        answer = subprocess.run(
            [program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_ANSWER_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.decode("utf-8", "replace")
