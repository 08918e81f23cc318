"""A live broadcast on workers: it waits for them, says what it waits for, and becomes what one machine makes."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import streamwave
from services.ingest.encoding import installation
from streamwave.cluster.cluster import Cluster
from streamwave.cluster.splitting import CALM_CHUNKS
from streamwave.ffmpeg.transcode import Encoded
from streamwave.spool.broadcast import broadcasts
from tests.support.cli import LADDER, slow_ffmpeg
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


def encoding(options: streamwave.Settings) -> dict[str, Any]:
    """The installation's ``encoding``, as ``GET /status`` of the ingest service has it."""
    rows = [{"run": spool.status()} for spool in broadcasts(options.spool_dir) if not spool.finished]
    return installation(rows, options)


def test_a_late_stream_says_that_workers_are_short_until_they_are_not(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=300, gop=25, audio=False)
    slow = slow_ffmpeg(tmp_path / "ffmpeg", ".mkv", rate=f'$(cat "{tmp_path}/rate")')
    (tmp_path / "rate").write_text("0.4")
    with (
        machines(tmp_path, FFMPEG_PATH=str(slow), STREAMWAVE_FFMPEG_SLOTS="1") as some,
        ThreadPoolExecutor(1) as threads,
    ):
        some.scheduler()
        some.worker("one")
        options = settings(tmp_path, task_runner=some.address, passthrough="never")
        live = streamwave.open_live(clip.path, "show", settings=options)
        published = threads.submit(live.publish)
        try:
            advice = wait_for(lambda: live.status().advice.get("encoding-slow", ""), "the advice")
            assert "1 of 1 slots are busy" in advice and advice.endswith("add workers")
            found = encoding(options)
            assert (found["workers"], found["slots"], found["busy"]) == (1, 1, 1)
            assert found["demand"] == found["load"] > 2
            assert found["queued"] > 1
            (tmp_path / "rate").write_text("100")
            some.worker("two")
            recording = published.result(60)
        finally:
            live.stop()
    assert "encoding-slow" not in live.status().advice
    assert encoding(options)["demand"] == 0
    assert recording.verify().ok


def test_chunks_are_divided_while_slow_workers_are_idle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=25 * (CALM_CHUNKS + 3), gop=25, audio=False)
    made = list[str]()

    def encode(*arguments: Any, original: Any = Cluster.encode) -> Encoded:
        found: Encoded = original(*arguments)
        made.append(found.where)
        return found

    monkeypatch.setattr(Cluster, "encode", encode)
    slow = slow_ffmpeg(tmp_path / "ffmpeg", ".mkv", rate="0.6")
    with machines(tmp_path, FFMPEG_PATH=str(slow), STREAMWAVE_FFMPEG_SLOTS="2") as some:
        some.scheduler()
        names = [one.name for one in some.workers("one", "two")]
        # One chunk at a time, so that it is known what is idle.
        options = settings(tmp_path, task_runner=some.address, passthrough="never", max_chunks_in_flight=1)
        recording = streamwave.open_live(clip.path, "show", settings=options).publish()
    alone = settings(tmp_path / "alone", passthrough="never", ffmpeg_slots=2)
    assert media(recording) == media(streamwave.open_live(clip.path, "show", settings=alone).publish())
    (spool,) = broadcasts(alone.spool_dir)
    told = spool.status()["encoding"]
    assert isinstance(told, dict) and (told["at"], told["workers"], told["slots"]) == (socket.gethostname(), 1, 2)
    divided = [where for where in made if where.count("× real time") == 2]
    assert made.index(divided[0]) >= CALM_CHUNKS
    assert len(divided) >= 2
    for where in divided:
        large, small = where.split("; ")
        assert large.startswith("large on ") and small.startswith("small on ")
        assert all(name in where for name in names)
