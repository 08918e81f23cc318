"""TCP ports for servers of the tests: unique across tests, and outside of the range of ephemeral ports."""

from __future__ import annotations

import itertools
import os
import random
import socket
from pathlib import Path

#: Outside of net.ipv4.ip_local_port_range, from which the kernel assigns ports, for example to every client. Each test worker
#: has its own part of the range, because a server takes a second to bind its port, and until then the port looks free to
#: the other workers.
_LOWEST = 12_000
_highest = min(32_000, int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0]))
_PARTS = 8
_size = (_highest - _LOWEST) // _PARTS
_part = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PARTS
_numbers = itertools.count(random.Random(os.getpid()).randrange(_size))


def free_port() -> int:
    """A port that nothing listens on; a different one at every call."""
    for number in _numbers:
        port = _LOWEST + _part * _size + number % _size
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
    raise AssertionError
