"""A live broadcast on workers: it waits for them, says what it waits for, and becomes what one machine makes."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import streamwave
from tests.support.cli import LADDER
from tests.support.cluster import machines
from tests.support.media import make_clip
from tests.support.processes import wait_for
from tests.support.published import files


def settings(folder: Path, **changes: object) -> streamwave.Settings:
    return streamwave.Settings.load(
        env_file=None, state_dir=folder / "state", output_dir=str(folder / "out"), encoder_threads=1, segment_seconds=1,
        ladder=json.dumps(LADDER), **changes,
    )  # fmt: skip


def media(broadcast: streamwave.Broadcast) -> dict[str, bytes]:
    """The segments of a broadcast."""
    found = files(Path(broadcast.outputs[0], broadcast.path))
    return {name: data for name, data in found.items() if name.endswith((".m4s", ".mp4"))}


def test_a_broadcast_waits_for_its_workers_and_says_so(tmp_path: Path) -> None:
    # Its own video becomes the largest rendition: a worker checks it.
    clip = make_clip(tmp_path / "clip.mp4", frames=100, gop=25, size="320x180", options=("-bf", "0"))
    with machines(tmp_path) as some, ThreadPoolExecutor(1) as threads:
        live = streamwave.open_live(clip.path, "show", settings=settings(tmp_path, task_runner=some.address))
        published = threads.submit(live.publish)

        def warned(text: str) -> bool:
            assert not published.done(), published.result()
            return any(text in warning for warning in live.status().warnings)

        try:
            wait_for(
                lambda: warned(f"chunks wait, because the scheduler tcp://127.0.0.1:{some.port} does not answer"), "it"
            )
            some.scheduler()
            wait_for(lambda: warned("has no worker that this run can use; start one with `streamwave worker`"), "that")
            some.worker("one")
            recording = published.result(60)
        finally:
            live.stop()
    alone = streamwave.open_live(clip.path, "show", settings=settings(tmp_path / "alone")).publish()
    assert recording.verify().ok
    assert len(media(alone)) > 12
    assert media(recording) == media(alone)
