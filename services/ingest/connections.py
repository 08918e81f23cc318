"""Connections to this service: a request arrives soon, or its connection ends; and those that wait for one are bounded.

uvicorn bounds neither. Its ``limit_concurrency`` would refuse the honest request while others hold connections open.
"""

from __future__ import annotations

import asyncio
import time

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

#: A request, with its body, has arrived after this time from the start of its connection or the end of the one before.
REQUEST_S = 10.0
#: Connections on which a request is still waited for. One more ends the oldest of them, not the new one: a request that is
#: honest comes at once.
MAX_WAITING = 200


class Connection(H11Protocol):
    """uvicorn's own handling of HTTP/1.1, with a deadline."""

    waiting_since: float | None = None
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request; end the one that has waited longest if too many wait."""
        waiting = [one for one in self.connections if isinstance(one, Connection) and one.waiting_since is not None]
        if len(waiting) >= MAX_WAITING:
            min(waiting, key=lambda one: one.waiting_since or 0.0).end()
        super().connection_made(transport)
        self._note()

    def data_received(self, data: bytes) -> None:
        """Take what has come; what is still missing must come before the deadline, which that does not put off."""
        super().data_received(data)
        self._note()

    def on_response_complete(self) -> None:
        """The next request over this connection has a deadline of its own."""
        super().on_response_complete()
        self._forget()
        self._note()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for."""
        self._forget()
        super().connection_lost(exc)

    def end(self) -> None:
        """Close at once, whatever was sent."""
        self._forget()
        self.connections.discard(self)
        self.transport.abort()

    def _note(self) -> None:
        # What the other side is doing: nothing yet, or sending a body.
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY) and not self.transport.is_closing():
            if self._deadline is None:
                self.waiting_since = time.monotonic()
                self._deadline = self.loop.call_later(REQUEST_S, self.end)
        else:
            self._forget()

    def _forget(self) -> None:
        self.waiting_since = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
