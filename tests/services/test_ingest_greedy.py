"""A publisher that exhausts its limits is cut off with a reason, and others are not affected."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

from streamwave.model import StreamLimits
from streamwave.spool.journal import LIMIT_REACHED, JournalReader, OpenRecord
from streamwave.spool.quota import held_by_stream
from tests.support.ingest import Ingest, running
from tests.support.ingest_rtmp import RATE, address, ended, pictures, received, refused, rtmp, session_of
from tests.support.media import Clip, make_clip
from tests.support.processes import wait_for

#: Limits so low that one publisher exhausts them within seconds: bytes that may wait, and sessions per minute.
LIMITS = {"STREAMWAVE_SPOOL_MAX_GB": "0.008", "STREAMWAVE_MAX_SESSIONS_PER_MINUTE": "2"}


@contextmanager
def sending(ingest: Ingest, key: str, clip: Clip) -> Iterator[subprocess.Popen[bytes]]:
    """Publish a clip in real time without transcoding it, as OBS would."""
    command = ["ffmpeg", "-v", "quiet", "-nostdin", "-re", "-i", str(clip.path), "-c", "copy", "-f", "flv"]
    with subprocess.Popen([*command, address(ingest, key)], stdin=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_greedy_publisher_is_ended_and_a_modest_one_loses_no_frame(tmp_path: Path) -> None:
    noise = ("-vf", "noise=alls=100:allf=t", "-crf", "8", "-bf", "0")
    greedy_clip = make_clip(
        tmp_path / "greedy.flv", Fraction(RATE), 24 * RATE, gop=10_000, size="256x144", options=noise
    )
    assert greedy_clip.path.stat().st_size > 12_000_000
    modest_clip = make_clip(
        tmp_path / "modest.flv", Fraction(RATE), 20 * RATE, gop=RATE, size="64x36", options=("-bf", "0")
    )
    short_clip = make_clip(
        tmp_path / "short.flv", Fraction(RATE), 2 * RATE, gop=RATE, size="64x36", options=("-bf", "0")
    )
    with running(tmp_path, patient=True, STREAMWAVE_SEGMENT_SECONDS="1", **LIMITS) as ingest, rtmp(ingest):
        root = ingest.settings.spool_dir
        assert ingest.settings.stream_limits == StreamLimits(8_000_000, 50, 256_000_000, 2)
        modest_key, greedy_key, late_key = (ingest.add(name) for name in ("modest", "greedy", "late"))
        with sending(ingest, modest_key, modest_clip) as modest, sending(ingest, greedy_key, greedy_clip) as greedy:
            first = session_of(ingest, "greedy", 0)
            end = ended(first)
            # The session ended in the middle of a chunk but keeps everything received, and the publisher is disconnected.
            assert end.reason == LIMIT_REACHED and end.error is not None
            assert "greedy has" in end.error and "STREAMWAVE_SPOOL_SHARE_PERCENT" in end.error
            assert isinstance(JournalReader(first).read()[0], OpenRecord)
            assert received(first) >= 1 and pictures(first) >= 2 * RATE
            assert greedy.wait(60) != 0
            held = held_by_stream(root)
            assert held["greedy"] < 8_000_000 * 0.75
            wait_for(lambda: "receiving ended" in ingest.log.read_text(), "the reason in the log")
            assert end.error in ingest.log.read_text()
            told = ingest.client.get("/status").json()
            assert told["parts"]["spool"]["held_bytes"]["greedy"] == held["greedy"]
            (row,) = [one for one in told["unfinished"] if one["stream"] == "greedy"]
            assert row["receiving_ended"] == end.error
            # The publisher reconnects until it has done so too often; nothing of it is published in the meantime.
            for _ in range(3):
                assert refused(ingest, greedy_key)
            log = ingest.log.read_text()
            assert "greedy has started 2 sessions in 1 min" in log and "background task failed" not in log
            assert len(ingest.sessions("greedy")) == 1
            # Another publisher is accepted meanwhile.
            with sending(ingest, late_key, short_clip) as late:
                assert late.wait(60) == 0
            assert modest.wait(60) == 0
        for stream, clip in (("modest", modest_clip), ("late", short_clip)):
            session = session_of(ingest, stream, 0)
            assert (ended(session).error, pictures(session)) == (None, clip.frames)
            # Both were receiving when the greedy one was ended, or after that.
            assert ended(session).ended_unix_ms > end.ended_unix_ms
        # The limits hold across a restart of the service.
        ingest.stop()
        ingest.start()
        answer = ingest.client.post("/start-stream", json={"key": greedy_key, "clientid": 9, "addr": "127.0.0.1"})
        assert answer.status_code == 429 and "greedy has started 2 sessions in 1 min" in answer.json()["error"]
