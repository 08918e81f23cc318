"""End a segmenter, from whatever process."""

from __future__ import annotations

import signal
from pathlib import Path

from streamwave.spool.journal import LOCK, writer_alive, writer_pid
from streamwave.util.locks import signal_holder
from streamwave.util.waiting import wait_until

#: For so long after a request to stop what has arrived is taken in.
STOP_LIMIT_S = 5.0


def request_stop(spool: Path, *, at_once: bool = False) -> bool:
    """Ask the segmenter that writes ``spool`` to end gracefully, whoever started it; whether there was one.

    Returns at once; the journal's end record says when it is done. That takes up to ``STOP_LIMIT_S`` while a publisher
    goes on sending, because all that has arrived is taken in; not so with ``at_once``.
    """
    pid = writer_pid(spool)
    return pid is not None and signal_holder(pid, spool / LOCK, signal.SIGUSR1 if at_once else signal.SIGTERM)


def stop_and_wait(spool: Path, timeout_s: float = STOP_LIMIT_S + 3) -> bool:
    """``request_stop``, then wait until the writer is gone; whether it is."""
    request_stop(spool)
    return wait_until(lambda: not writer_alive(spool), timeout_s)
