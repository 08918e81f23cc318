"""``streamwave up`` starts and stops in bounded time, without leftovers, and completes live broadcasts afterwards."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.live import (
    Installation,
    assert_exact,
    assert_ffmpeg_plays,
    is_static,
    listed,
    periods,
    picture_numbers,
)
from tests.support.media import Clip, make_clip
from tests.support.processes import alive, wait_for

#: It stops within the grace periods of its parts; a busy machine gets more before the test fails, and the time is printed.
STOP_LIMIT_S = 40
FRAMES = 300


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, prefect_api: str, prefect_home: Path) -> Iterator[Installation]:
    """An installation that is not running yet. Its reconnect window is longer than it takes to stop, even on a busy machine."""
    found = Installation(tmp_path_factory.mktemp("live"), prefect_home, STREAMWAVE_RECONNECT_WINDOW_S="12")
    try:
        yield found
    finally:
        found.close()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    # No B-frames: the last frame that arrives could be presented after one that does not.
    return make_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", frames=FRAMES, gop=25, options=("-bf", "0"))


def started(stopped: Installation) -> Installation:
    """The installation, which the test before has left running unless it failed."""
    if stopped.process is None:
        stopped.start()
    return stopped


def test_what_was_on_air_is_completed_at_the_next_start(
    stopped: Installation, clip: Clip, capsys: pytest.CaptureFixture[str]
) -> None:
    up = stopped
    ready_s = up.start()
    key = up.add_stream("show")
    with up.publish(clip, key, loop=True) as publisher:
        spool = up.broadcast("show")
        up.published_chunks(spool, 3)
        code, took_s = up.stop(signal.SIGINT)
        with capsys.disabled():
            print(f"\nready after {ready_s:.1f} s; ended after {took_s:.1f} s with a stream on air")
        assert code == 130
        assert took_s < STOP_LIMIT_S
        assert (up.processes(), up.nginx()) == ({}, {})
        assert publisher.wait(60) != 0
    assert not spool.finished
    # Everything that arrived is in the spool, including the last, open chunk.
    received = up.received(spool)
    assert received >= 3 * clip.gop
    up.start()
    root = up.finished(spool)
    assert is_static(root)
    (period,) = periods(root)
    assert picture_numbers(period, clip.rate) == [number % clip.frames for number in range(received)]
    assert_ffmpeg_plays(root)
    # A new publish is a new broadcast.
    up.publish_whole(clip, key, "-t", "1")
    assert len(periods(up.finished(up.broadcast("show", 1)))) == 1
    assert [entry["state"] for entry in listed(up) if entry["stream"] == "show"] == ["ended", "ended"]


def test_after_a_kill_the_next_start_completes_what_was_on_air(stopped: Installation, clip: Clip) -> None:
    up = started(stopped)
    key = up.add_stream("killed")
    with up.publish(clip, key, loop=True):
        spool = up.broadcast("killed")
        up.published_chunks(spool, 2)
        assert up.process is not None
        parts = [
            up.pid(part)
            for part in ("services.processing", "services.ingest", "services.rtmp", "services.media", "prefect_app")
        ]
        os.kill(up.process.pid, signal.SIGKILL)
        up.process.wait(60)
        up.process = None
        # The kernel kills the parts with it; a flow run or a segmenter may continue until it has nothing more to do.
        wait_for(lambda: not any(alive(pid) for pid in parts) and not up.nginx(), "the end of the parts")
    up.start()
    (period,) = periods(up.finished(spool))
    numbers = picture_numbers(period, clip.rate)
    assert numbers == [number % clip.frames for number in range(len(numbers))]
    assert len(numbers) >= 2 * clip.gop
    # Its run cleans up after completing the recording.
    wait_for(lambda: up.leftovers() == [], "the end of what the broadcast has left")


def test_a_second_one_is_refused_and_the_first_goes_on(stopped: Installation, clip: Clip) -> None:
    up = started(stopped)
    key = up.add_stream("undisturbed")
    short = make_clip(up.folder / "short.mp4", frames=75, gop=25)
    with up.publish(short, key) as publisher:
        done = up.cli.run("up", timeout_s=60)
        assert done.code != 0
        assert "is in use" in done.err
        assert "Traceback" not in done.err
        assert publisher.wait(60) == 0
    assert_exact(up.finished(up.broadcast("undisturbed")), [short])


def test_sigterm_ends_it_without_leftovers(stopped: Installation) -> None:
    up = started(stopped)
    wait_for(lambda: up.leftovers() == [], "the end of what the broadcasts have left")
    code, took_s = up.stop(signal.SIGTERM)
    assert took_s < STOP_LIMIT_S
    assert (code, up.processes(), up.nginx()) == (130, {}, {})
    assert up.leftovers() == []
