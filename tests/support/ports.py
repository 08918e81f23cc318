"""TCP ports for what the tests start: no two tests get the same one, and no connection of somebody else takes it."""

from __future__ import annotations

import itertools
import os
import random
import socket
from pathlib import Path

#: None is reached by those who let the kernel choose (net.ipv4.ip_local_port_range), for example every client of every
#: server. Each worker of the tests has a part of its own: what starts on a port takes a second to bind it, and meanwhile
#: the port looks free to the others.
_LOWEST = 12_000
_highest = min(32_000, int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0]))
_PARTS = 8
_size = (_highest - _LOWEST) // _PARTS
_part = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PARTS
_numbers = itertools.count(random.Random(os.getpid()).randrange(_size))


def free_port() -> int:
    """A port that nothing listens on, each time another one."""
    for number in _numbers:
        port = _LOWEST + _part * _size + number % _size
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
    raise AssertionError
