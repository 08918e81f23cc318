"""A probe worker that fails in every possible way, for the tests of ``probing``."""

from __future__ import annotations

import os
import signal
import sys
import time

from streamwave.errors import SourceError
from streamwave.ffmpeg.limits import SourceLimits
from streamwave.ffmpeg.probing import Request, serve


def work(request: Request, limits: SourceLimits) -> object:
    """Fail in the requested way."""
    if request["how"] == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if request["how"] == "eat":
        return len(bytearray(4 * limits.memory_mb << 20))
    if request["how"] == "hang":
        time.sleep(600)
    if request["how"] == "flood":
        sys.stdout.write("x" * 9_000_000)
        sys.stdout.flush()
        time.sleep(600)
    if request["how"] == "pid":
        raise SourceError(str(os.getpid()))
    if request["how"] == "refuse":
        raise SourceError("no")
    return [].pop()


if __name__ == "__main__":
    serve(work)
