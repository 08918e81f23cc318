"""Publishes with keys that are none: answered more slowly the more often they come from the same address.

Only failures are counted, and a right key is never looked at here: whoever shares an address with somebody who guesses gets in
at once. Keys have 192 random bits, so this is not what makes guessing hopeless; it keeps those who try from costing much.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

#: So many failures of an address in this time are answered at once.
FREE, PER_S = 10, 60.0
#: The others only after this time, which is less than the RTMP server waits.
DELAY_S = 3.0
#: Answers that are held back at once; beyond that they are not: it would be us who hold open what strangers begin.
MAX_DELAYED = 200
#: Addresses that are remembered; the one that was quiet for longest is forgotten first.
MAX_ADDRESSES = 2000


class Tries:
    """Failures by address. For one event loop; ``clock`` in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()  # since when, and how many
        self._delayed = 0

    def failed(self, address: str) -> float:
        """Note a failure; seconds by which its answer is to be delayed."""
        now, place = self._clock(), _network(address)
        since, count = self._failures.pop(place, (now, 0))
        if now - since > PER_S:
            since, count = now, 0
        self._failures[place] = (since, count + 1)
        if len(self._failures) > MAX_ADDRESSES:
            self._failures.popitem(last=False)
        return DELAY_S if count >= FREE and self._delayed < MAX_DELAYED else 0.0

    async def hold(self, delay_s: float) -> None:
        """Wait."""
        if delay_s:
            self._delayed += 1
            try:
                await asyncio.sleep(delay_s)
            finally:
                self._delayed -= 1


def _network(address: str) -> str:
    """What belongs to one subscriber: an IPv4 address, or 64 bits of an IPv6 one."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ip) if ip.version == 4 else str(ipaddress.ip_network((ip, 64), strict=False))
