"""RTMP publishers for ingest, and checks of what was received from them."""

from __future__ import annotations

import itertools
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av

from streamwave.spool.journal import (
    ChunkLine,
    EndRecord,
    JournalReader,
)
from tests.support.ingest import Ingest, end_of
from tests.support.processes import wait_for
from tests.support.rtmp_part import RtmpPart

RATE = 25
_numbers = itertools.count()


def rtmp(ingest: Ingest) -> RtmpPart:
    return RtmpPart(ingest.folder, ingest.environment)


def address(ingest: Ingest, key: str) -> str:
    return f"rtmp://127.0.0.1:{ingest.settings.rtmp_port}/live/{key}"


@contextmanager
def publishing(ingest: Ingest, key: str, seconds: int, *, video: bool = True) -> Iterator[subprocess.Popen[bytes]]:
    """FFmpeg in place of OBS: ``seconds`` of video at 25 fps with a keyframe every second, and a tone, in real time."""
    pictures = ["-re", "-f", "lavfi", "-i", f"testsrc2=size=64x36:rate={RATE}:duration={seconds}"] if video else []
    sound = ["-re", "-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=48000:duration={seconds}"]
    codecs = ["-c:v", "libx264", "-preset", "ultrafast", "-g", str(RATE), "-pix_fmt", "yuv420p"] if video else []
    command = ["ffmpeg", "-v", "error", "-nostdin", *pictures, *sound, *codecs, "-c:a", "aac"]
    command += ["-progress", str(ingest.folder / f"progress-{next(_numbers)}"), "-f", "flv"]
    with subprocess.Popen([*command, address(ingest, key)], stdin=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def finish(publisher: subprocess.Popen[bytes]) -> int:
    """End a publish as OBS does, and see that it had not been disconnected; the pictures that were sent."""
    assert publisher.poll() is None
    publisher.send_signal(signal.SIGINT)
    assert publisher.wait(60) in (0, 255)
    arguments = [str(one) for one in publisher.args]  # type: ignore[union-attr]
    progress = Path(arguments[arguments.index("-progress") + 1]).read_text()
    return int(re.findall(r"^frame=(\d+)$", progress, re.M)[-1])


def refused(ingest: Ingest, key: str) -> bool:
    """Whether a publisher is refused; if it were accepted, it would publish for two minutes."""
    with publishing(ingest, key, 120) as process:
        return process.wait(60) != 0


def pictures(session: Path) -> int:
    """Number of video frames in a session's chunk files, which must match the journal."""
    count = 0
    for line in JournalReader(session).read():
        if isinstance(line, ChunkLine) and line.chunk.video_file is not None:
            with av.open(str(session / line.chunk.video_file)) as chunk:
                found = sum(1 for packet in chunk.demux(video=0) if packet.size)
            assert found == line.chunk.pictures
            count += found
    return count


def received(session: Path) -> int:
    """Number of chunks received so far."""
    return sum(isinstance(line, ChunkLine) for line in JournalReader(session).read())


def ended(session: Path) -> EndRecord:
    end = wait_for(lambda: end_of(session), f"the end of {session.name}")
    assert end is not None
    return end


def session_of(ingest: Ingest, stream: str, number: int) -> Path:
    """The session ``number`` of the only broadcast of ``stream``, once it exists."""

    def found() -> Path | None:
        sessions = ingest.sessions(stream)
        assert len({session.parent for session in sessions}) <= 1, sessions
        return sessions[number] if len(sessions) > number else None

    session = wait_for(found, f"session {number} of {stream}")
    assert session is not None
    return session
