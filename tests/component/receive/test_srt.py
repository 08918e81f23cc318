"""Sources that are received over SRT, which PyAV's libavformat does not know."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streamwave.errors import SourceError
from streamwave.ffmpeg.limits import SourceLimits
from streamwave.ffmpeg.probe import probe
from streamwave.ffmpeg.relay import Relay
from streamwave.receive.segmenter import Segmenter
from streamwave.spool.options import Options
from tests.support.media import ffmpeg_path, make_clip
from tests.support.ports import free_port
from tests.support.processes import wait_for
from tests.support.segmented import Spool, contiguous, read
from tests.support.sources import in_sync, shown

FRAMES, GOP = 75, 25
#: What a busy machine sends or takes too late is not thrown away, as SRT does by itself.
LATE = "tlpktdrop=0"


def listens(port: int) -> bool:
    return f":{port:04X} " in Path("/proc/net/udp").read_text()


@contextmanager
def encoder(clip: Path, address: str) -> Iterator[subprocess.Popen[bytes]]:
    """An encoder that sends ``clip`` in real time."""
    command = [ffmpeg_path(), "-v", "error", "-re", "-i", str(clip), "-c", "copy", "-f", "mpegts", address]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "a.ts", frames=FRAMES, gop=GOP, size="160x90", options=("-bf", "0")).path


def received(address: str, folder: Path) -> Spool:
    Segmenter(Options(source=address, spool=folder, live=True, segment_ms=1000, read_timeout_s=30)).run()
    return read(folder)


def whole(spool: Spool) -> None:
    """All but what the encoder still had when it left: it waits for no receiver."""
    assert spool.end is not None and (spool.end.reason, spool.end.error) == ("end of source", None)
    contiguous(spool)
    pictures = shown(spool)
    assert pictures == list(range(len(pictures))) and len(pictures) >= FRAMES - 15
    in_sync(spool)


def test_an_encoder_that_is_called(tmp_path: Path, clip: Path) -> None:
    port = free_port()
    with encoder(clip, f"srt://127.0.0.1:{port}?mode=listener&{LATE}"):
        wait_for(lambda: listens(port), "a socket")
        whole(received(f"srt://127.0.0.1:{port}?{LATE}", tmp_path / "spool"))


def test_an_encoder_that_calls_with_a_passphrase(tmp_path: Path, clip: Path) -> None:
    port = free_port()
    secret = f"passphrase=abcdefghijkl&{LATE}"
    found: list[Spool] = []
    receiving = threading.Thread(
        target=lambda: found.append(received(f"srt://127.0.0.1:{port}?mode=listener&{secret}", tmp_path / "spool"))
    )
    receiving.start()
    wait_for(lambda: listens(port), "a socket")
    with encoder(clip, f"srt://127.0.0.1:{port}?{secret}"):
        receiving.join(60)
    whole(*found)


def test_nobody_who_answers() -> None:
    address = f"srt://127.0.0.1:{free_port()}"
    with pytest.raises(SourceError, match=rf"^{address} cannot be read \(Input/output error\); check the"):
        probe(f"{address}?passphrase=abcdefghijkl&connect_timeout=300")


def test_an_encoder_that_never_calls_is_not_waited_for_without_end() -> None:
    """And nothing is left of the waiting."""
    port = free_port()
    relay = Relay(f"srt://127.0.0.1:{port}?mode=listener", "the encoder", open_timeout_s=1, read_timeout_s=1)
    with pytest.raises(SourceError, match="^the encoder did not answer in time; check the address and the network$"):
        relay.read(1000)
    assert not listens(port) and relay.read(1000) == b""


def test_an_ffmpeg_without_srt(tmp_path: Path) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *srt:*) echo "srt://h: Protocol not found" >&2; exit 1;; esac\nexec {ffmpeg_path()} "$@"\n'
    )
    program.chmod(0o755)
    with pytest.raises(SourceError, match=f"{program} was built without SRT; point FFMPEG_PATH to an FFmpeg that has"):
        probe("srt://127.0.0.1:9", limits=SourceLimits(ffmpeg_path=str(program)))
