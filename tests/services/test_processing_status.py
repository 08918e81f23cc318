"""The status of a broadcast with several outputs, one of which refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.processing.status import stream_status
from streamwave.model import State
from streamwave.pipeline.live import LiveBroadcast
from streamwave.receive.segmenter import Segmenter
from streamwave.spool.broadcast import open_session
from streamwave.spool.options import Options
from tests.support.live_publishing import publish, settings
from tests.support.media import make_clip
from tests.support.processes import wait_for

CHUNKS = 3


@pytest.mark.parametrize("mended", [True, False])
def test_each_output_has_its_own_lag(tmp_path: Path, mended: bool) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=25 * CHUNKS, gop=25, size="160x90")
    roots = [tmp_path / "one", tmp_path / "two"]
    spool, session = open_session(tmp_path / "spool", "show", output=", ".join(map(str, roots)), window_ms=0)
    Segmenter(Options(source=f"file:{clip.path}", spool=session, segment_ms=1000)).run()
    roots[1].write_bytes(b"")  # a file in the way of the folder
    with LiveBroadcast(spool, settings(tmp_path), "run") as broadcast:
        publish(broadcast, broadcast.chunks())
        broadcast.status.tell(State.LIVE)
        one, two = stream_status(spool, None).outputs
        assert (one.output, two.output) == tuple(f"{root}/show/{spool.broadcast}" for root in roots)
        assert (one.chunks, one.lag_chunks, one.lag_ms, one.error) == (CHUNKS, 0, 0, "")
        assert (two.chunks, two.lag_chunks) == (0, CHUNKS) and two.lag_ms >= CHUNKS * 1000
        assert "two" in two.error
        assert stream_status(spool, None).chunks == CHUNKS
        if mended:
            roots[1].unlink()

            def caught_up() -> bool:
                broadcast.status.tell(State.LIVE)
                found = stream_status(spool, None).outputs[1]
                return (found.chunks, found.lag_chunks, found.lag_ms, found.error) == (CHUNKS, 0, 0, "")

            wait_for(caught_up, "the second output")
