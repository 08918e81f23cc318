"""Limits on connections: on those that do not publish yet, in total and per address, and on publishers.

A new connection is always admitted. If that exceeds a limit, the gate ends another one: the oldest of
those at the earliest stage. So idle connections displace each other, and rarely one that is about to publish.
"""

from __future__ import annotations

import ipaddress
from enum import IntEnum
from typing import Protocol


class Stage(IntEnum):
    """Progress of a connection."""

    SILENT = 0  # has not completed its part of the handshake
    GREETING = 1  # nginx-rtmp is answering its handshake
    SPEAKING = 2  # sends commands
    ASKING = 3  # has sent its key; the publish hook decides
    PUBLISHING = 4


class Connection(Protocol):
    """A connection that the gate admits."""

    address: str
    stage: Stage

    def refuse(self, reason: str) -> None:
        """End the connection and count it as refused for ``reason``."""


def host_of(address: str) -> str:
    """The part of an address that limits apply to: all of IPv4, the first 64 bits of IPv6, which one subscriber has."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip
    return str(ip) if ip.version == 4 else str(ipaddress.ip_network((ip, 64), strict=False))


class Admission:
    """The connections of one gate; those that do not publish yet are kept in the order in which they reached their stage."""

    def __init__(self, *, waiting: int, waiting_per_address: int, publishing: int) -> None:
        self._waiting_limit, self._address_limit, self._publishing_limit = waiting, waiting_per_address, publishing
        self._waiting: tuple[dict[Connection, None], ...] = tuple({} for _ in range(Stage.PUBLISHING))
        self._by_host: dict[str, dict[Connection, None]] = {}
        self.publishing: dict[Connection, None] = {}

    def waiting(self) -> list[Connection]:
        """The connections that do not publish yet."""
        return [one for stage in self._waiting for one in stage]

    def enter(self, new: Connection) -> None:
        """Admit a connection, and end another one if a limit is reached."""
        neighbours = self._by_host.get(host_of(new.address), {})
        if len(neighbours) >= self._address_limit:
            min(neighbours, key=lambda one: one.stage).refuse("too many connections from its address do not publish")
        elif sum(map(len, self._waiting)) >= self._waiting_limit:
            stage = next(stage for stage in self._waiting if stage)
            next(iter(stage)).refuse("too many connections do not publish")
        self._waiting[new.stage][new] = None
        self._by_host.setdefault(host_of(new.address), {})[new] = None

    def advance(self, one: Connection, stage: Stage) -> bool:
        """Record that a connection has reached ``stage``; False if that is PUBLISHING and there are too many publishers."""
        if stage is Stage.PUBLISHING and len(self.publishing) >= self._publishing_limit:
            return False
        self.leave(one)
        one.stage = stage
        if stage is Stage.PUBLISHING:
            self.publishing[one] = None
        else:
            self._waiting[stage][one] = None
            self._by_host.setdefault(host_of(one.address), {})[one] = None
        return True

    def leave(self, one: Connection) -> None:
        """Forget a connection; harmless if it is unknown."""
        self.publishing.pop(one, None)
        for stage in self._waiting:
            stage.pop(one, None)
        host = host_of(one.address)
        neighbours = self._by_host.get(host, {})
        neighbours.pop(one, None)
        if not neighbours:
            self._by_host.pop(host, None)
