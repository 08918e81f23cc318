"""``python -m services.ingest``: serve until SIGINT or SIGTERM."""

from __future__ import annotations

import signal
import socket
import sys

import uvicorn

from services.ingest.app import create_app
from services.ingest.connections import Connection
from services.ingest.guard import is_loopback
from services.ingest.log import events, set_up
from streamwave.config.settings import Settings
from streamwave.errors import SettingsError, StreamWaveError, tell
from streamwave.state.folders import close_state
from streamwave.streams.database import Database
from streamwave.streams.hooks import hook_token, ingest_url
from streamwave.util.private import begin
from streamwave.util.trust import check_working_folder

#: Limit on the headers of a request, and so on the memory per connection; legitimate ones are shorter.
MAX_HEADER_BYTES = 16 * 1024


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        SettingsError: the port is taken, or the address does not belong to this machine.
    """
    # asyncio sets TCP_NODELAY only on sockets with an explicit protocol. Without it, each answer on a keep-alive connection
    # would wait 40 ms for the acknowledgement of its head.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(1024)
    except OSError as error:
        listening.close()
        raise SettingsError(
            f"cannot listen on {host} port {port} ({error.strerror}); stop the program that uses it, or choose others in "
            "STREAMWAVE_INGEST_HOST and STREAMWAVE_INGEST_PORT"
        ) from None
    return listening


def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM; segmenters keep receiving afterwards.

    Raises:
        StreamWaveError: the service cannot start; the message says why.
    """
    set_up(settings.log_level)
    # Report errors in the settings before anything starts.
    Database.open(settings).close()
    hook_token(settings)
    config = uvicorn.Config(
        create_app(settings),
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=10,
        lifespan="on",
        http=Connection,
        ws="none",
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
    )
    # When uvicorn is done, it raises the signal that stopped it again, which must not kill this process.
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with listen(settings.ingest_host, settings.ingest_port) as listening:
            if not is_loopback(settings.ingest_host) and settings.admin_token is None:
                events.warning(
                    "other machines can reach STREAMWAVE_INGEST_HOST, and STREAMWAVE_ADMIN_TOKEN is not set: "
                    "listen on 127.0.0.1 if none of them needs this service, else set the token",
                    host=settings.ingest_host,
                )
            events.info("listening", url=ingest_url(settings), spool=settings.spool_dir)
            uvicorn.Server(config).run(sockets=[listening])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    events.info("ended")


def main() -> int:
    """Run the service; the exit status."""
    begin()
    try:
        settings = Settings.load()
        check_working_folder()
        close_state(settings, make=True)
        serve(settings)
    except StreamWaveError as error:
        return tell(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
