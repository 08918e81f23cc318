"""TCP ports for what the tests start: no two tests get the same one, and no connection of somebody else takes it."""

from __future__ import annotations

import itertools
import os
import random
import socket
from pathlib import Path

#: Each process of the tests begins somewhere else, so that the workers do not meet; none is reached by those who let the
#: kernel choose (net.ipv4.ip_local_port_range), for example every client of every server.
_LOWEST = 12_000
_highest = min(32_000, int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0]))
_numbers = itertools.count(random.Random(os.getpid()).randrange(_highest - _LOWEST))


def free_port() -> int:
    """A port that nothing listens on, each time another one."""
    for number in _numbers:
        port = _LOWEST + number % (_highest - _LOWEST)
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
    raise AssertionError
