"""Bounds what those without the key can take of a scheduler or worker: open connections, and time until they show the key."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

#: How long a peer may take for the TLS handshake.
HANDSHAKE_S = 5.0
#: How many may be at it at the same time. One more ends the oldest, because those with a key need milliseconds.
PENDING = 64


@cache
def guard() -> None:
    """Let Dask's listeners for TLS in this process observe these bounds."""
    from distributed.comm import tcp

    class Listener(tcp.TLSListener):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)  # type: ignore[no-untyped-call]
            self._pending: dict[int, Any] = {}  # streams, oldest first

        async def _prepare_stream(self, stream: Any, address: str) -> Any:
            if len(self._pending) >= PENDING:
                self._pending.pop(next(iter(self._pending))).close()
            self._pending[id(stream)] = stream
            try:
                async with asyncio.timeout(HANDSHAKE_S):
                    return await super()._prepare_stream(stream, address)  # type: ignore[no-untyped-call]
            except TimeoutError:
                stream.close()
                return None
            finally:
                self._pending.pop(id(stream), None)

    tcp.TLSBackend._listener_class = Listener
