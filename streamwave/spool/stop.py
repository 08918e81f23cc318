"""Stop a segmenter, from any process."""

from __future__ import annotations

import signal
from pathlib import Path

from streamwave.spool.journal import LOCK, writer_alive, writer_pid
from streamwave.util.locks import signal_holder
from streamwave.util.waiting import wait_until

#: Time after a stop request during which data that has already arrived is still received.
STOP_LIMIT_S = 5.0


def request_stop(spool: Path, *, at_once: bool = False) -> bool:
    """Ask the segmenter that writes ``spool`` to stop. Returns whether there is one.

    Does not wait: the segmenter writes an end record to the journal when it has stopped. While a publisher keeps sending,
    that takes up to ``STOP_LIMIT_S``, because data that has already arrived is still received, unless ``at_once``.
    """
    pid = writer_pid(spool)
    return pid is not None and signal_holder(pid, spool / LOCK, signal.SIGUSR1 if at_once else signal.SIGTERM)


def stop_and_wait(spool: Path, timeout_s: float = STOP_LIMIT_S + 3) -> bool:
    """``request_stop``, then wait until the segmenter has exited. Returns whether it has."""
    request_stop(spool)
    return wait_until(lambda: not writer_alive(spool), timeout_s)
