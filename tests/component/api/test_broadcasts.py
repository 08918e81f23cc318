"""Broadcasts by the API: one that is live is followed and read; findings, exports and errors of a recording."""

from __future__ import annotations

import json
import threading
from dataclasses import FrozenInstanceError
from pathlib import Path

import av
import pytest

import streamwave
from streamwave.api.status import Status, read_status
from streamwave.errors import OutputError, SpoolError, UsageError
from streamwave.pipeline.chunk import publish_chunk
from streamwave.pipeline.live import LiveBroadcast
from streamwave.receive.segmenter import Segmenter
from streamwave.spool.broadcast import BroadcastSpool, open_session
from streamwave.spool.options import Options
from tests.support.media import Clip, make_clip

CHUNKS = 3
LADDER = {"rungs": [{"name": "tiny", "short_side": 60, "max_kbps": 200}]}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=25 * CHUNKS, gop=25, size="160x90")


def settings(folder: Path) -> streamwave.Settings:
    return streamwave.Settings.load(
        env_file=None, state_dir=folder / "state", output_dir=str(folder / "out"), segment_seconds=1,
        ladder=json.dumps(LADDER), preset="ultrafast",
    )  # fmt: skip


@pytest.fixture
def spool(tmp_path: Path, clip: Clip) -> BroadcastSpool:
    """A live broadcast of which all is received, and nothing published."""
    here = settings(tmp_path)
    found, session = open_session(here.spool_dir, "show", output=here.output_url, window_ms=0)
    Segmenter(Options(source=f"file:{clip.path}", spool=session, segment_ms=1000)).run()
    return found


def test_a_live_broadcast_is_followed_to_its_end(spool: BroadcastSpool, tmp_path: Path) -> None:
    here = settings(tmp_path)
    seen, first = list[Status](), threading.Event()

    def follow() -> None:
        for status in streamwave.open_broadcast("show", settings=here).follow(poll_s=0.01):
            seen.append(status)
            first.set()

    watcher = threading.Thread(target=follow)
    with LiveBroadcast(spool, here, "run") as broadcast:
        for job, record in broadcast.chunks():
            publish_chunk(job, record)
            broadcast.stored()
            if record.number == 0:
                live = streamwave.open_broadcast("show", settings=here)
                assert (live.state, live.ended_unix_ms, live.renditions) == ("live", None, ("tiny", "audio"))
                (listed,) = streamwave.list_broadcasts(settings=here)
                assert listed == live
                outcome = live.verify(decode=False)
                assert outcome.live and outcome.ok and outcome.renditions["tiny"].samples == 25
                watcher.start()
                assert first.wait(60)
        broadcast.finish()
    watcher.join(60)
    assert not watcher.is_alive()
    assert (seen[0].state, seen[0].session, seen[0].chunks) == ("live", "000000", 1)
    assert [one.chunks for one in seen] == sorted(one.chunks for one in seen)
    last = seen[-1]
    assert (last.state, last.chunks, last.lag_ms, last.error) == ("finished", CHUNKS, 0, None)
    assert set(last.bitrates_bps) == {"tiny", "audio"} and set(last.latency_ms) == {"median", "p95", "last"}
    recording = streamwave.open_broadcast(f"show/{spool.broadcast}", settings=here)
    assert recording.state == "recorded" and recording.ended_unix_ms is not None and recording.verify().ok
    assert recording.outputs == (str(tmp_path / "out"),)
    # What looks after spools removes it; the recording stays.
    spool.remove()
    with pytest.raises(SpoolError, match="has no status here"):
        recording.status()


def test_following_ends_when_the_spool_is_cleaned_away(spool: BroadcastSpool, tmp_path: Path) -> None:
    here = settings(tmp_path)
    with LiveBroadcast(spool, here, "run") as broadcast:
        job, record = next(broadcast.chunks())
        publish_chunk(job, record)
        broadcast.stored()
        followed = streamwave.open_broadcast("show", settings=here).follow(poll_s=0.01)
        assert next(followed).state == "live"
    spool.remove()
    assert [status.state for status in followed] == []


def test_a_recording_is_read_and_exported(clip: Clip, tmp_path: Path) -> None:
    here = settings(tmp_path)
    streamwave.transcode(clip.path, tmp_path / "out" / "talk", settings=here)
    talk = streamwave.open_broadcast(tmp_path / "out" / "talk", settings=here)
    with pytest.raises(FrozenInstanceError):
        talk.title = "another"  # type: ignore[misc]
    with pytest.raises(SpoolError):
        talk.status()
    told: list[tuple[int, int]] = []
    (file,) = talk.export(tmp_path / "talk.mp4", audio=False, on_progress=lambda *one: told.append(one))
    assert told[-1] == (CHUNKS, CHUNKS)
    with av.open(str(file.path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == clip.frames and not container.streams.audio
    with pytest.raises(UsageError, match="exists"):
        talk.export(file.path)
    assert talk.export(file.path, overwrite=True)[0].duration_ms == talk.duration_ms
    lost = next(path for path in (tmp_path / "out" / "talk").rglob("*.m4s") if "tiny" in str(path))
    lost.unlink()
    outcome = talk.verify(decode=False)
    assert not outcome.ok and lost.name in outcome.findings[0]
    with pytest.raises(OutputError):
        talk.export(tmp_path / "again.mp4")


def test_a_name_that_means_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no broadcast talk"):
        streamwave.open_broadcast("talk", settings=settings(tmp_path))
    for name, output, why in [
        ("", None, "the name of the broadcast is empty"),
        ("talk", " ", "the output is empty"),
        ("./talk", "s33://bucket/x", "unknown kind of store"),
        ("/a,/a/b", None, "does not contain a broadcast"),
    ]:
        with pytest.raises(UsageError, match=why):
            streamwave.open_broadcast(name, output=output, settings=settings(tmp_path))
    assert streamwave.list_broadcasts(settings=settings(tmp_path)) == ()


def test_a_status_that_another_version_wrote() -> None:
    told = {"chunks": "3", "bitrates": [], "advice": [{"code": "x"}], "warnings": None, "latency_ms": {"p95": "soon"}}
    assert read_status(told, finished=False) == Status()
    assert read_status({"state": "live"}, finished=True).state == "finished"
