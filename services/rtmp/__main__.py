"""``python -m services.rtmp``: runs the gate, and nginx-rtmp behind it, until SIGINT or SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time

from services.rtmp.gate import MAX_PUBLISHING, RtmpGate
from services.rtmp.server import RtmpServer, RtmpSettings, raise_open_files
from streamwave.config.settings import Settings
from streamwave.errors import StreamWaveError, tell
from streamwave.state.folders import close_state
from streamwave.streams.hooks import hooks_url
from streamwave.util.private import begin
from streamwave.util.trust import check_working_folder

#: Maximum of the pause before nginx-rtmp is restarted, which doubles while it keeps exiting soon after its start ...
_RESTART_LIMIT_S = 10.0
#: ... that is, within this time.
_STEADY_S = 10.0

_log = logging.getLogger("rtmp")


async def serve(settings: Settings, update_interval_s: int = 5) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        StreamWaveError: the service cannot start; the message says why.
    """
    raise_open_files()
    asked = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    nginx = RtmpServer(
        RtmpSettings(
            settings.rtmp_internal_port,
            lambda: hooks_url(settings),
            connections=settings.rtmp_waiting + 2 * MAX_PUBLISHING,
            update_interval_s=update_interval_s,
        ),
        settings.state_dir / "rtmp",
    )
    gate = RtmpGate(
        settings.rtmp_host,
        settings.rtmp_port,
        settings.rtmp_internal_port,
        waiting=settings.rtmp_waiting,
        waiting_per_address=settings.rtmp_waiting_per_address,
    )
    await nginx.start()
    try:
        await gate.start()
        _log.info("listening on %s port %d", settings.rtmp_host, settings.rtmp_port)
        keeping = asyncio.create_task(_keep_running(nginx))
        stopping = asyncio.create_task(asked.wait())
        await asyncio.wait([keeping, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if keeping.done():
            keeping.result()
        keeping.cancel()
    finally:
        await gate.stop()
        await nginx.stop()


async def _keep_running(nginx: RtmpServer) -> None:
    """Restart nginx-rtmp whenever it exits."""
    pause_s = 0.0
    while True:
        started = time.monotonic()
        status = await nginx.wait()
        _log.error("nginx-rtmp exited with status %d: all publishers were disconnected; restarting it", status)
        pause_s = 0.0 if time.monotonic() - started > _STEADY_S else min(max(2 * pause_s, 0.1), _RESTART_LIMIT_S)
        await asyncio.sleep(pause_s)
        await nginx.stop()
        await nginx.start()


def main() -> int:
    """Run the service; the exit status."""
    begin()
    try:
        settings = Settings.load()
        check_working_folder()
        close_state(settings, make=True)
        set_up_log(settings.log_level)
        asyncio.run(serve(settings))
    except StreamWaveError as error:
        return tell(error)
    return 0


def set_up_log(level: str) -> None:
    """Log to standard error with the time in UTC."""
    handler = logging.StreamHandler()
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logging.getLogger().handlers[:] = [handler]
    _log.setLevel(level.upper())


if __name__ == "__main__":
    sys.exit(main())
