"""The gate: listens for publishers, limits their number and their time, and logs refusals."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

from services.rtmp.admission import Admission
from services.rtmp.connection import READ_BYTES, Publisher
from services.rtmp.server import PUBLISH_HOST
from streamwave.errors import SettingsError

#: Concurrent publishers; further ones are refused, even with a valid key.
MAX_PUBLISHING = 256
#: Connections that the kernel queues until the gate accepts them.
_BACKLOG = 256
_CHECK_S = 1.0
#: Refusals are logged at this interval, each reason with its count.
_LOG_S = 10.0

_log = logging.getLogger("rtmp.gate")


class RtmpGate:
    """Listens on ``host:port`` for nginx-rtmp, whose port is ``nginx_port``. Create it while the event loop runs."""

    def __init__(self, host: str, port: int, nginx_port: int, *, waiting: int, waiting_per_address: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.nginx = (PUBLISH_HOST, nginx_port)
        self.admission = Admission(waiting=waiting, waiting_per_address=waiting_per_address, publishing=MAX_PUBLISHING)
        self.buffer = memoryview(bytearray(READ_BYTES))
        self._host, self._port = host, port
        self._server: asyncio.Server | None = None
        self._watching: asyncio.Task[None] | None = None
        self._refusals: Counter[str] = Counter()
        self._last_address: dict[str, str] = {}
        self._log_at = 0.0

    async def start(self) -> None:
        """Start to listen.

        Raises:
            SettingsError: the port is taken, or the address does not belong to this machine.
        """
        try:
            self._server = await self.loop.create_server(
                lambda: Publisher(self), self._host, self._port, backlog=_BACKLOG
            )
        except OSError as error:
            raise SettingsError(
                f"cannot listen on {self._host} port {self._port} ({error.strerror or error}); stop the program that "
                "uses it, or choose others in STREAMWAVE_RTMP_HOST and STREAMWAVE_RTMP_PORT"
            ) from None
        self._watching = self.loop.create_task(self._watch_deadlines())

    async def stop(self) -> None:
        """Stop listening and end all connections; data that was read is still forwarded to nginx-rtmp."""
        if self._watching is not None:
            self._watching.cancel()
        if self._server is not None:
            self._server.close()
        for one in [*self.admission.waiting(), *self.admission.publishing]:
            if isinstance(one, Publisher):
                one.nginx_is_gone()
        self._log_refusals()

    def refused(self, reason: str, address: str) -> None:
        """Count a refusal, and log it now or with the next ones."""
        self._refusals[reason] += 1
        self._last_address[reason] = address
        if self.loop.time() >= self._log_at:
            self._log_refusals()

    def accepted(self, address: str) -> None:
        """Log a publish."""
        _log.info("publishing client=%s publishers=%d", address, len(self.admission.publishing))

    def _log_refusals(self) -> None:
        for reason, count in self._refusals.items():
            _log.warning("refused: %s client=%s%s", reason, self._last_address[reason], f" times={count}" * (count > 1))
        self._refusals.clear()
        self._last_address.clear()
        self._log_at = self.loop.time() + _LOG_S

    async def _watch_deadlines(self) -> None:
        """Refuse connections whose deadline has passed, and log refusals."""
        while True:
            await asyncio.sleep(_CHECK_S)
            now = self.loop.time()
            for one in [*self.admission.waiting(), *self.admission.publishing]:
                if isinstance(one, Publisher) and now > one.deadline:
                    one.refuse(f"too slow ({one.stage.name.lower()})")
            if self._refusals and now >= self._log_at:
                self._log_refusals()
