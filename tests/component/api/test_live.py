"""``streamwave.open_live``: a live source is received and published by this process; followed, stopped, taken up again."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

import streamwave
from streamwave.errors import IncompleteError, SourceError, SpoolError, UsageError
from streamwave.receive.segmenter import Segmenter
from streamwave.spool.broadcast import broadcasts, open_session
from streamwave.spool.options import Options
from tests.support.by_hand import served
from tests.support.media import Clip, make_clip
from tests.support.player import decode_pictures, representations
from tests.support.published import files

CHUNKS = 3
LADDER = {"rungs": [{"name": "tiny", "short_side": 60, "max_kbps": 200}]}
LIMIT_S = 60


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=25 * CHUNKS, gop=25, size="160x90")


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """Nobody waits for its end."""
    path = tmp_path_factory.mktemp("clip") / "long.mp4"
    return make_clip(path, frames=25 * LIMIT_S, gop=25, size="160x90", options=("-bf", "0"))


def settings(folder: Path, **changes: object) -> streamwave.Settings:
    values = {"output_dir": str(folder / "out"), "encoder_threads": 1, "ladder": json.dumps(LADDER), **changes}
    return streamwave.Settings.load(
        env_file=None, state_dir=folder / "state", segment_seconds=1, preset="ultrafast",
        passthrough="never", **values,
    )  # fmt: skip


@contextmanager
def publishing(live: streamwave.Live) -> Iterator[Future[streamwave.Broadcast]]:
    with ThreadPoolExecutor(1) as threads:
        try:
            yield threads.submit(live.publish)
        finally:
            live.stop()


def test_a_camera_is_followed_while_it_is_live_and_stopped_from_another_thread(long: Clip, tmp_path: Path) -> None:
    here = settings(tmp_path)
    with served(long) as source:
        live = streamwave.open_live(source, "show", title="The show", settings=here)
        assert (live.path, live.status()) == (None, streamwave.Status())
        with publishing(live) as published:
            stopped = False
            for status in live.follow(poll_s=0.05):
                if status.chunks >= 2 and not stopped:
                    assert status.state == "live"
                    now = streamwave.open_broadcast(live.path or "", settings=here)
                    assert (now.state, now.title, now.path) == ("live", "The show", live.path)
                    outcome = now.verify(decode=False)
                    assert outcome.ok and outcome.live
                    with pytest.raises(SpoolError, match="show is live from another source"):
                        streamwave.open_live(long.path, "show", settings=here).publish()
                    live.stop()
                    stopped = True
            recording = published.result(LIMIT_S)
    assert (status.state, status.error, status.lag_ms) == ("finished", None, 0)
    assert live.status() == status
    assert (recording.state, recording.path) == ("recorded", live.path)
    outcome = recording.verify()
    pictures = outcome.renditions["tiny"].samples
    assert outcome.ok and 25 * 2 <= pictures < long.frames
    tiny = representations(tmp_path / "out" / recording.path)["tiny"]
    assert [one.number for one in decode_pictures(tiny.data, tiny.timescale)] == list(range(pictures))
    (spool,) = broadcasts(here.spool_dir)
    left = [str(path.relative_to(spool.folder)) for path in spool.folder.glob("*/**/*")]
    assert left == [] and spool.sessions() == [], left
    with pytest.raises(UsageError, match="published already"):
        live.publish()


def test_what_a_killed_run_has_received_is_completed_first_and_bytes_are_those_of_any_other_run(
    clip: Clip, tmp_path: Path
) -> None:
    here = settings(tmp_path)
    left, session = open_session(here.spool_dir, "show", output=here.output_url, window_ms=0)
    Segmenter(Options(source=f"file:{clip.path}", spool=session, segment_ms=1000)).run()
    recording = streamwave.open_live(clip.path, "show", settings=here).publish()
    both = streamwave.list_broadcasts(settings=here)
    assert {one.path: one.state for one in both} == {recording.path: "recorded", f"show/{left.broadcast}": "recorded"}
    first, second = (
        {name: data for name, data in files(tmp_path / "out" / one.path).items() if name.endswith((".m4s", ".mp4"))}
        for one in both
    )
    assert first == second and len(first) > 2 * CHUNKS
    assert recording.verify().renditions["tiny"].samples == clip.frames


def test_a_source_that_holds_nothing_fails_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no media")
    live = streamwave.open_live(tmp_path / "text.mp4", "show", settings=settings(tmp_path))
    with pytest.raises(SourceError) as failure:
        live.publish()
    (last,) = live.follow()
    assert (last.state, last.error, last.chunks) == ("failed", str(failure.value), 0)
    stopped = streamwave.open_live(tmp_path / "text.mp4", "show", settings=settings(tmp_path))
    stopped.stop()
    with pytest.raises(SourceError):
        stopped.publish()


def test_an_error_in_the_middle_leaves_what_is_published(
    clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object, on_wait: object) -> None:
        raise RuntimeError("out of the blue")

    monkeypatch.setattr("streamwave.pipeline.live.LiveBroadcast.finish", fail)
    here = settings(tmp_path)
    live = streamwave.open_live(clip.path, "show", settings=here)
    with pytest.raises(RuntimeError, match="out of the blue"):
        live.publish()
    last = live.status()
    assert (last.state, last.error, last.chunks) == ("failed", "out of the blue", CHUNKS)
    cut = streamwave.open_broadcast(live.path or "", settings=here)
    assert cut.state == "recorded" and cut.verify().renditions["tiny"].samples == clip.frames


def test_an_output_that_is_behind_is_waited_for_until_stop_says_no_more(
    clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamwave.pipeline.live.GRACE_S", 0.1)
    good, bad = tmp_path / "good", tmp_path / "bad"
    bad.write_text("a file where the folder would be")
    here = settings(tmp_path, output_dir=f"{good},{bad}")
    live = streamwave.open_live(clip.path, "show", settings=here)
    finishing = threading.Event()
    with publishing(live) as published:
        for status in live.follow(poll_s=0.05):
            if status.state == "finishing" and any("waits until" in one for one in status.warnings):
                finishing.set()
                live.stop()
        with pytest.raises(IncompleteError, match="the recording is incomplete at") as failure:
            published.result(LIMIT_S)
    assert finishing.is_set() and status.state == "finished"
    assert failure.value.behind == (f"{bad}/{live.path}",)
    found = streamwave.open_broadcast(live.path or "", output=good, settings=here)
    assert found.verify(decode=False).renditions["tiny"].samples == clip.frames


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"source": "none.mp4"}, "there is no file none.mp4"),
        ({"stream": "The Show"}, "is not a valid stream name"),
        ({"title": "a\nb"}, "a title is one line"),
        ({"output": " "}, "the output is empty"),
        ({"ladder": "huge"}, "no rendition 'huge'"),
    ],
)
def test_what_cannot_be_used_is_said_at_once(clip: Clip, tmp_path: Path, changes: dict[str, str], why: str) -> None:
    values = {"source": str(clip.path), "stream": "show", "output": str(tmp_path / "out"), **changes}
    here = settings(tmp_path, **({"ladder": values.pop("ladder")} if "ladder" in values else {}))
    with pytest.raises(UsageError, match=why):
        streamwave.open_live(settings=here, **values)
    assert not (tmp_path / "out").exists()
