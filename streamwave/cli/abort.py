"""The second Ctrl-C ends a command within seconds, whatever it waits for.

Python joins its threads when it ends, and one of them may be in a request that an endpoint never answers.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time

#: How long a command has for an orderly end after the second signal.
GRACE_S = 6.0
_ENDING = (signal.SIGINT, signal.SIGTERM)


def watch_signals() -> None:
    """From the second SIGINT or SIGTERM on this process has ``GRACE_S`` left. Must be called in the main thread.

    Processes that it has started die with it.
    """
    ours, theirs = socket.socketpair()
    for one in (ours, theirs):
        one.setblocking(False)
    signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    ours.setblocking(True)
    threading.Thread(target=_watch, args=(ours, theirs), name="signals", daemon=True).start()


def _watch(ours: socket.socket, _kept_open: socket.socket) -> None:
    seen = 0
    while seen < 2:
        seen += sum(1 for number in ours.recv(64) if number in _ENDING)
    time.sleep(GRACE_S)
    print("stopped while an output does not answer; what was written there is left as it is", file=sys.stderr)
    sys.stderr.flush()
    os._exit(130)
