"""Ask a program on this machine about itself."""

from __future__ import annotations

import subprocess

#: Asking a program for its version takes milliseconds; one that has not answered by then is another program.
_ANSWER_TIMEOUT_S = 20


def ask(program: str, *arguments: str) -> str:
    """What ``program`` prints about itself; empty if it cannot be started or does not answer."""
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
