"""Who may be connected: bounds on connections that do not publish yet, in total and by address, and on publishers.

A newcomer always gets in. Where there are too many, the one that has come least far ends, of those the oldest: idle
connections push each other out, and hardly anybody who is about to publish.
"""

from __future__ import annotations

import ipaddress
from enum import IntEnum
from typing import Protocol


class Stage(IntEnum):
    """How far a connection has come."""

    SILENT = 0  # has not sent its part of the handshake
    GREETING = 1  # nginx-rtmp answers its handshake
    SPEAKING = 2  # sends commands
    ASKING = 3  # has sent its key; the hooks decide
    PUBLISHING = 4


class Connection(Protocol):
    """What is admitted."""

    address: str
    stage: Stage

    def refuse(self, reason: str) -> None:
        """End it."""


def host_of(address: str) -> str:
    """What counts as one address: all of IPv4, the first half of IPv6, which is what one customer gets."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip
    return str(ip) if ip.version == 4 else str(ipaddress.ip_network((ip, 64), strict=False))


class Admission:
    """The connections of one gate, those that wait in the order in which they came."""

    def __init__(self, *, waiting: int, waiting_per_address: int, publishing: int) -> None:
        self._waiting_limit, self._address_limit, self._publishing_limit = waiting, waiting_per_address, publishing
        self._waiting: tuple[dict[Connection, None], ...] = tuple({} for _ in range(Stage.PUBLISHING))
        self._by_host: dict[str, dict[Connection, None]] = {}
        self.publishing: dict[Connection, None] = {}

    def waiting(self) -> list[Connection]:
        """Those that do not publish yet."""
        return [one for stage in self._waiting for one in stage]

    def enter(self, new: Connection) -> None:
        """Admit a connection, in the place of another one if need be."""
        neighbours = self._by_host.get(host_of(new.address), {})
        if len(neighbours) >= self._address_limit:
            min(neighbours, key=lambda one: one.stage).refuse("too many connections from its address do not publish")
        elif sum(map(len, self._waiting)) >= self._waiting_limit:
            stage = next(stage for stage in self._waiting if stage)
            next(iter(stage)).refuse("too many connections do not publish")
        self._waiting[new.stage][new] = None
        self._by_host.setdefault(host_of(new.address), {})[new] = None

    def advance(self, one: Connection, stage: Stage) -> bool:
        """Note that a connection has come to ``stage``; False if there are too many that publish."""
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
        """Forget a connection; harmless for one that is forgotten already."""
        self.publishing.pop(one, None)
        for stage in self._waiting:
            stage.pop(one, None)
        host = host_of(one.address)
        neighbours = self._by_host.get(host, {})
        neighbours.pop(one, None)
        if not neighbours:
            self._by_host.pop(host, None)
