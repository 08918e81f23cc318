"""The output's disk is full while a stream is live: receiving continues, the status says why, and nothing is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from streamwave.storage.store import LocalStore
from streamwave.verify import verify_broadcast
from tests.support.disk import fill, small_disk
from tests.support.live import assert_exact, installation
from tests.support.media import make_clip
from tests.support.processes import wait_for


def test_a_full_output_is_waited_for_and_no_frame_is_lost(tmp_path: Path, prefect_api: str, prefect_home: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=400, gop=25)
    with (
        small_disk(tmp_path / "disk", 40_000) as disk,
        installation(
            tmp_path / "live", prefect_home, OUTPUT_DIR=str(disk / "out"), PREFECT_API_URL=prefect_api
        ) as running,
    ):
        key = running.add_stream("full")
        with running.publish(clip, key) as publisher:
            spool = running.broadcast("full")
            running.published_chunks(spool, 2)
            before = running.received(spool)
            ballast = fill(disk)

            def told(part: str) -> Any:
                return spool.status()[part]

            def error() -> str:
                return told("outputs")[0]["error"] or ""

            wait_for(lambda: "no space left" in error(), f"the state to say so; it is {spool.status()}")
            # The published part plays, and new data is received.
            assert verify_broadcast(LocalStore(running.root(spool))).findings == []
            wait_for(lambda: running.received(spool) >= before + 50, "two more seconds to be received")
            assert any("no space left" in warning for warning in told("warnings"))
            assert running.run_pid(spool), "the run ended"
            ballast.unlink()
            wait_for(lambda: not error(), f"publishing to go on; the state is {spool.status()}")
            assert publisher.wait(60) == 0
        root = running.finished(spool)
        assert any(warning.endswith("can be written again") for warning in told("warnings"))
        assert len(running.flow_runs(spool)) == 1
        assert_exact(root, [clip])
