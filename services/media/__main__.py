"""``python -m services.media --root out --port 8080`` serves a folder; ``--live`` serves what the settings say."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from services.media.exposure import Exposure
from services.media.server import MediaServer, PublishAddress
from streamwave.config.settings import Settings
from streamwave.errors import StreamWaveError, tell
from streamwave.state.folders import close_state
from streamwave.util.files import make_public_folder
from streamwave.util.private import begin
from streamwave.util.trust import check_working_folder


@contextlib.contextmanager
def _ending_on_signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set, instead of ending the process."""
    asked = threading.Event()
    before = {sign: signal.signal(sign, lambda *_: asked.set()) for sign in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)


def from_settings() -> MediaServer:
    """The media server that the settings describe. If no output is on a local disk, /media/ is empty."""
    settings = Settings.load()
    check_working_folder()
    close_state(settings, make=True)
    local = next((target.url for target in settings.outputs if target.is_local), None)
    root = Path(local) if local else settings.state_dir / "empty"
    make_public_folder(root)
    return MediaServer(
        root,
        port=settings.media_port,
        rtmp=PublishAddress(settings.rtmp_port),
        runtime_dir=settings.state_dir / "nginx",
        host=settings.media_host,
        exposure=Exposure.from_settings(settings),
    )


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m services.media", description="Serve the player and the output.")
    parser.add_argument("--root", type=Path, default=Path("out"), help="what /media/ shows (default: out)")
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on (default: all)")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on (default: 8080)")
    parser.add_argument("--live", action="store_true", help="do as the settings say; ignores other options")
    options = parser.parse_args(arguments)
    begin()
    try:
        server = from_settings() if options.live else MediaServer(options.root, port=options.port, host=options.host)
        with _ending_on_signals() as asked, server:
            print(f"watch on {server.url}/ (serving {server.root}); stop with Ctrl-C", flush=True)
            while not asked.wait(1):
                if server.pid is None:
                    raise StreamWaveError(
                        "nginx has exited unexpectedly: see its messages above, then start the media server again"
                    )
    except StreamWaveError as error:
        return tell(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
