"""Flow runs that are started manually, without the services."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from streamwave.spool.broadcast import BroadcastSpool, broadcasts
from tests.support.cli import Cli
from tests.support.media import Clip, ffmpeg_path
from tests.support.ports import free_port
from tests.support.processes import wait_for

SETTINGS = {"STREAMWAVE_SEGMENT_SECONDS": "1", "STREAMWAVE_PRESET": "ultrafast"}


@contextmanager
def served(clip: Clip, *, loop: bool = False) -> Iterator[str]:
    """The URL of a server that sends ``clip`` in real time to its first client; the query stands for a secret.

    With ``loop`` it sends the clip again and again, so that the source outlasts the test even on a busy machine.
    """
    port = free_port()
    command = [ffmpeg_path(), "-nostdin", "-v", "error"]
    # Pictures and sound from an input each: together they would begin anew when the longer of them ends.
    for _ in range(2):
        command += ["-re", *(["-stream_loop", "-1"] if loop else []), "-i", str(clip.path)]
    command += ["-map", "0:v", "-map", "1:a", "-c", "copy", "-f", "mpegts"]
    publisher = subprocess.Popen([*command, "-listen", "1", f"http://127.0.0.1:{port}/show.ts"])
    try:
        wait_for(lambda: f":{port:04X} 00000000:0000 0A" in Path("/proc/net/tcp").read_text(), "the publisher")
        yield f"http://127.0.0.1:{port}/show.ts?token=geheim"
    finally:
        publisher.kill()
        publisher.wait(60)


def on_air(cli: Cli) -> BroadcastSpool:
    """The broadcast of the run, once its session exists."""

    def found() -> BroadcastSpool | None:
        spools = broadcasts(cli.state / "spool", "show")
        return spools[0] if spools and spools[0].sessions() else None

    spool = wait_for(found, "the session")
    assert spool
    return spool


@contextmanager
def by_hand(cli: Cli, server: AbstractContextManager[str]) -> Iterator[subprocess.Popen[str]]:
    """``streamwave run`` with the source ``server`` and fast settings; publishes the stream ``show`` to the folder ``out``."""
    cli.extra |= SETTINGS
    with server as source, cli.start("run", source, "--stream", "show", "--output", str(cli.folder / "out")) as process:
        yield process


def chunks(spool: BroadcastSpool) -> int:
    return int(str(spool.status().get("chunks", 0)))
