"""Sources whose audio begins late."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest

from streamwave.receive.segmenter import Segmenter
from streamwave.spool.broadcast import open_session
from streamwave.spool.journal import AdviceLine, JournalReader
from streamwave.spool.options import Options
from tests.matrix.flv import PICTURE, SOUND, Tag, read_tags, unannounced, write_tags
from tests.support.media import ffmpeg_path, make_clip
from tests.support.onsets import decode, onsets
from tests.support.segmented import Spool, read
from tests.support.sources import SIZE

FRAMES, RATE = 150, 25


LATE_MS = 3500


#: The flashes at 4.04 s and 5.04 s have a beep.
HEARD_S = (101 / RATE, 126 / RATE)


def late(
    folder: Path, *codec: str, announced: bool = True, sound: bool = True, late_ms: int = LATE_MS, size: str = SIZE
) -> list[Tag]:
    """An FLV clip whose audio begins at ``late_ms``, together with the decoder configuration."""
    options = ("-bf", "0", *(("-c:a", *codec) if codec else ()))
    tags = read_tags(make_clip(folder / "whole.flv", frames=FRAMES, gop=25, size=size, options=options).path)
    if not announced:
        tags = unannounced(tags)
    first = next(tag.ms for tag in tags if tag.kind == SOUND and tag.ms >= late_ms)
    parameters = [replace(tag, ms=first) for tag in tags if tag.kind == SOUND and tag.header]
    pictures = [tag for tag in tags if tag.kind != SOUND]
    heard = [*parameters, *(tag for tag in tags if tag.kind == SOUND and tag.ms >= first)] if sound else []
    return sorted([*pictures, *heard], key=lambda tag: (tag.ms, tag.kind != PICTURE, not tag.header))


@contextmanager
def served(tags: list[Tag], folder: Path, *, ends: bool = True) -> Iterator[str]:
    """An RTMP server that sends ``tags`` verbatim to its first player, and then closes the connection or stays silent."""
    write_tags(folder / "served.flv", tags)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"rtmp://127.0.0.1:{port}/live/stage"
    command = [ffmpeg_path(), "-v", "error", "-probesize", "32", "-f", "data", "-i", "pipe:0"]
    command += ["-c", "copy", "-map", "0", "-flush_packets", "1", "-f", "data", "-listen", "1", address]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as server:
        try:
            assert server.stdin is not None
            sending = threading.Thread(target=_send, args=(server.stdin, folder / "served.flv", ends), daemon=True)
            sending.start()
            _listens(port)
            yield address
        finally:
            server.kill()
            sending.join(60)


def _send(pipe: IO[bytes], file: Path, ends: bool) -> None:
    with suppress(BrokenPipeError):
        pipe.write(file.read_bytes())
        pipe.flush()
        if ends:
            pipe.close()


def _listens(port: int) -> None:
    end = time.monotonic() + 20
    wanted = f":{port:04X} "
    while wanted not in Path("/proc/net/tcp").read_text():
        assert time.monotonic() < end, "the RTMP server does not listen"
        time.sleep(0.02)


def segment_live(
    tags: list[Tag], folder: Path, segment_ms: int = 1000, *, ends: bool = True, **options: bool
) -> list[Spool]:
    """The sessions of a live source, and of those that came before it within the reconnect window."""
    _, session = open_session(folder / "spools", "stage", output="memory://out", window_ms=60_000, owner="test")
    with served(tags, folder, ends=ends) as address:
        Segmenter(
            Options(source=address, spool=session, segment_ms=segment_ms, live=True, read_timeout_s=10, **options)  # type: ignore[arg-type]
        ).run()
    return [read(folder) for folder in sorted(session.parent.iterdir()) if folder.is_dir()]


def heard(spool: Spool) -> list[float]:
    """Times of the beeps in a session, in seconds."""
    return onsets(decode(spool.sound()))


def in_time(found: list[float]) -> None:
    assert found == pytest.approx(HEARD_S, abs=0.010)


def advised(spool: Spool) -> list[str]:
    """Codes of the advice to the publisher."""
    return [line.advice.code for line in JournalReader(spool.folder).read() if isinstance(line, AdviceLine)]
