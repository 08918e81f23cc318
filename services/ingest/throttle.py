"""Delays the answers to publishes with wrong keys, the more an address has tried.

Only failures count; a correct key is never delayed, even from an address that somebody else uses to guess. Keys have 192
random bits, which alone makes guessing hopeless; the delay limits what guessing costs this service.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

#: An address may send ``FREE`` wrong keys within ``PER_S`` seconds without a delay.
FREE, PER_S = 10, 60.0
#: Delay of the answer to each further wrong key; less than the RTMP server waits for an answer.
DELAY_S = 3.0
#: Answers that are delayed at the same time. Further ones go out at once, so that strangers cannot make us hold more
#: connections open.
MAX_DELAYED = 200
#: Addresses that are remembered; the one whose last failure is oldest is forgotten first.
MAX_ADDRESSES = 2000


class KeyThrottle:
    """Failures by address. Used from one event loop; ``clock`` returns seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()  # (time of the first, count) by address
        self._delayed = 0

    def failed(self, address: str) -> float:
        """Count a failure; the seconds by which to delay its answer."""
        now, subscriber = self._clock(), _subscriber(address)
        since, count = self._failures.pop(subscriber, (now, 0))
        if now - since > PER_S:
            since, count = now, 0
        self._failures[subscriber] = (since, count + 1)
        if len(self._failures) > MAX_ADDRESSES:
            self._failures.popitem(last=False)
        return DELAY_S if count >= FREE and self._delayed < MAX_DELAYED else 0.0

    async def hold(self, delay_s: float) -> None:
        """Wait for ``delay_s``, counted among the delayed answers."""
        if delay_s:
            self._delayed += 1
            try:
                await asyncio.sleep(delay_s)
            finally:
                self._delayed -= 1


def _subscriber(address: str) -> str:
    """The part of an address that identifies one subscriber: all of IPv4, the first 64 bits of IPv6."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ip) if ip.version == 4 else str(ipaddress.ip_network((ip, 64), strict=False))
