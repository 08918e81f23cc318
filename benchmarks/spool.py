"""A spool in a store 50 ms away: how much later a run gets a chunk than from a local folder.

Measured from the journal entry on the receiving machine until the run's replica has the chunk: the time to upload it, to notice
it, and to fetch it. The store is moto's server over HTTP, behind a proxy that answers no request sooner than 50 ms after
receiving all of it. Chunks are as large as 2 s at 6 Mbit/s with audio.
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from streamwave.model import ChunkRecord, SourceInfo
from streamwave.spool.broadcast import open_session
from streamwave.spool.journal import ChunkLine, JournalWriter, OpenRecord
from streamwave.spool.remote.fetch import Fetcher
from streamwave.spool.remote.mirror import Mirror
from streamwave.spool.remote.objects import open_spool
from tests.support.faults import Weather, proxy
from tests.support.s3 import s3_server

LATENCY_S = 0.050
#: Maximum median delay in milliseconds.
TARGET = 500.0
VIDEO_BYTES, SOUND_BYTES = 1_500_000, 32_000


def main(chunks: int = 30, every_s: float = 1.0) -> float:
    """Measure, print and return the median in milliseconds."""
    weather = Weather(latency_s=LATENCY_S)
    with (
        tempfile.TemporaryDirectory(prefix="streamwave-bench-") as name,
        s3_server() as s3,
        proxy(s3.endpoint, weather) as through,
    ):
        options, url = s3.through(through), f"{s3.bucket('bench')}/{uuid.uuid4().hex}"
        session = open_session(Path(name) / "spool", "bench", output="/out", window_ms=0, remote=url)[1]
        writer = JournalWriter(session)
        writer.append(
            OpenRecord(
                source=SourceInfo(url="u", container="flv"), rate=Fraction(25), sample_rate=48_000, origin_unix_ms=1
            )
        )
        mirror = Mirror(url, options, lambda: [session])
        replica = Path(name) / "replica"
        replica.mkdir()
        fetcher = Fetcher(replica, open_spool(url, options), {}, most=chunks + 1, lost_s=600)
        fetcher.start()
        journal = replica / session.name / "journal.jsonl"
        _wait(lambda: journal.exists(), 60)
        times_ms = []
        for number in range(chunks):
            video, sound = f"{number:06d}.mkv", f"{number:06d}.aac"
            (session / video).write_bytes(os.urandom(VIDEO_BYTES))
            (session / sound).write_bytes(os.urandom(SOUND_BYTES))
            record = ChunkRecord(
                number=number, video_file=video, start_ms=number, next_ms=number + 1, pictures=1, audio_file=sound
            )
            writer.append(ChunkLine(chunk=record))
            began, size = time.monotonic(), journal.stat().st_size
            _wait(lambda size=size: journal.stat().st_size > size, 60)  # type: ignore[misc]
            times_ms.append((time.monotonic() - began) * 1000)
            # Keep the chunks out of step with the polling.
            time.sleep(every_s + random.random() / 4)
        writer.close()
        mirror.finish(5)
        fetcher.stop()
    median = statistics.median(times_ms)
    print(
        f"spool in a store {LATENCY_S * 1000:.0f} ms away: a run has a chunk {median:.0f} ms later in the median, "
        f"{min(times_ms):.0f} to {max(times_ms):.0f} (target {TARGET:.0f})"
    )
    return median


def _wait(condition: Callable[[], bool], limit_s: float) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the chunk did not arrive")
        time.sleep(0.001)
