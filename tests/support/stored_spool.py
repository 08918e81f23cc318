"""Shared by tests of a spool in a store: a receiving machine without services, and the environment of another machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streamwave.config.settings import Settings
from streamwave.spool.broadcast import BroadcastSpool, open_session
from streamwave.spool.options import Options
from streamwave.spool.remote.exchange import Exchange

#: A run without a heartbeat for this long is dead: a shorter limit than that of the service.
RUN_LIMIT_S = 3.0


@contextmanager
def looked_after(spool: BroadcastSpool, settings: Settings) -> Iterator[Exchange]:
    """Run the exchange that the processing service runs for a broadcast received on this machine."""
    exchange, stopping = Exchange(spool, settings.spool_options, run_limit_s=RUN_LIMIT_S), threading.Event()

    def run() -> None:
        while not stopping.wait(0.1):
            exchange.look()

    thread = threading.Thread(target=run, name="looks after", daemon=True)
    thread.start()
    try:
        yield exchange
    finally:
        stopping.set()
        thread.join(60)
        exchange.close()


def new_session(settings: Settings, source: str, *, live: bool = False) -> tuple[BroadcastSpool, Options]:
    """A session of a new broadcast of ``show``, and the options for its segmenter."""
    spool, session = open_session(
        settings.spool_dir, "show", output=settings.output_url, window_ms=0, owner="test",
        remote=settings.spool_url or "",
    )  # fmt: skip
    return spool, Options(
        source=source, spool=session, segment_ms=1000, live=live, stream_limits=settings.stream_limits,
        store_options=settings.spool_options,
    )  # fmt: skip


def media(root: Path) -> dict[str, bytes]:
    """The media objects of a recording by name."""
    found = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.suffix in (".m4s", ".mp4")}
    return {name: path.read_bytes() for name, path in found.items()}
