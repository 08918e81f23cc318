"""The second Ctrl-C ends a command within seconds, whatever it is waiting for.

Without this, Python would join its threads at exit, and one of them may be waiting for an endpoint that never answers.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time

#: Seconds that a command has to shut down cleanly after the second signal.
GRACE_S = 6.0
_ENDING = (signal.SIGINT, signal.SIGTERM)


def watch_signals() -> None:
    """Kill this process ``GRACE_S`` after the second SIGINT or SIGTERM. Must be called in the main thread.

    Its child processes die with it.
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
    print("stopped while an output was not answering; its content is left as it is", file=sys.stderr)
    sys.stderr.flush()
    os._exit(130)
