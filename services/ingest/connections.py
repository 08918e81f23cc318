"""HTTP connections with a deadline for each request, and a limit on connections that wait for a request.

uvicorn has neither. Its ``limit_concurrency`` would refuse legitimate requests while attackers hold connections open.
"""

from __future__ import annotations

import asyncio
import time

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

#: A request and its body must arrive within this time of the start of the connection, or of the end of the previous one.
REQUEST_S = 10.0
#: Connections that may wait for a request. One more closes the oldest of them instead of the new one, because legitimate
#: clients send their request at once.
MAX_WAITING = 200


class Connection(H11Protocol):
    """uvicorn's HTTP/1.1 protocol, with a deadline for requests."""

    waiting_since: float | None = None
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request; if too many connections do, close the one that has waited longest."""
        waiting = [one for one in self.connections if isinstance(one, Connection) and one.waiting_since is not None]
        if len(waiting) >= MAX_WAITING:
            min(waiting, key=lambda one: one.waiting_since or 0.0).end()
        super().connection_made(transport)
        self._note()

    def data_received(self, data: bytes) -> None:
        """Handle received data, which does not extend the deadline of an incomplete request."""
        super().data_received(data)
        self._note()

    def on_response_complete(self) -> None:
        """Start the deadline of the next request."""
        super().on_response_complete()
        self._forget()
        self._note()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the deadline."""
        self._forget()
        super().connection_lost(exc)

    def end(self) -> None:
        """Close the connection at once, without flushing."""
        self._forget()
        self.connections.discard(self)
        self.transport.abort()

    def _note(self) -> None:
        # IDLE: the client has sent no complete head of a request. SEND_BODY: it is sending the body.
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
