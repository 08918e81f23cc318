"""Connections that send an incomplete request and stay open."""

from __future__ import annotations

import resource
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def half_open(port: int, count: int, sent: bytes) -> Iterator[list[socket.socket]]:
    """``count`` connections, or as many as this process may open, each of which has sent ``sent``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(count, (hard if hard != resource.RLIM_INFINITY else 1 << 20) // 2 - 200)
    found: list[socket.socket] = []
    try:
        for _ in range(count):
            one = socket.create_connection(("127.0.0.1", port), timeout=60)
            found.append(one)
            try:
                one.sendall(sent)
            except OSError:  # already closed by the server
                continue
        yield found
    finally:
        for one in found:
            one.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def still_open(connections: list[socket.socket]) -> int:
    """Number of connections that the server has not closed; data that it sent is discarded."""
    poll, by_number = select.poll(), {one.fileno(): one for one in connections}
    for number in by_number:
        poll.register(number, select.POLLIN)
    over = 0
    for number, events in poll.poll(0):
        one = by_number[number]
        one.setblocking(False)
        try:
            while one.recv(65536):
                continue
            over += 1
        except BlockingIOError:
            if events & (select.POLLHUP | select.POLLERR):
                over += 1
        except OSError:
            over += 1
    return len(connections) - over
