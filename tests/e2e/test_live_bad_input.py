"""Publishers that send nothing, garbage or incomplete data, or that have no key; and a normal one at the same time.

The installation has its spool in an S3 bucket.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import av
import pytest

from streamwave.spool.broadcast import BroadcastSpool, broadcasts
from streamwave.timing import AAC_FRAME
from tests.support.live import (
    Installation,
    assert_exact,
    assert_ffmpeg_plays,
    installation,
    is_static,
    periods,
    published_samples,
    status_warnings,
)
from tests.support.media import Clip, make_clip
from tests.support.player import decode_sound
from tests.support.processes import wait_for
from tests.support.s3 import S3, s3_server

FRAMES, BAD_FRAMES = 500, 100


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server() as endpoint:
        endpoint.bucket("spool")
        yield endpoint


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, prefect_api: str, prefect_home: Path, s3: S3
) -> Iterator[Installation]:
    environment = {**s3.environment, "STREAMWAVE_SPOOL_DIR": "s3://spool/tv", "PREFECT_API_URL": prefect_api}
    with installation(tmp_path_factory.mktemp("live"), prefect_home, **environment) as found:
        yield found


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Clip]:
    folder = tmp_path_factory.mktemp("clips")
    return {
        "good": make_clip(folder / "good.mp4", frames=FRAMES, gop=25),
        "bad": make_clip(folder / "bad.mp4", frames=BAD_FRAMES, gop=25),
        "radio": make_clip(folder / "radio.mp4", frames=BAD_FRAMES, video=False),
    }


def refused(running: Installation, clip: Clip, key: str) -> bool:
    with running.publish(clip, key) as publisher:
        try:
            return publisher.wait(60) != 0
        except subprocess.TimeoutExpired:
            return False


@pytest.fixture(scope="module")
def spools(running: Installation, clips: dict[str, Clip]) -> dict[str, BroadcastSpool]:
    """Run all publishers concurrently, and return their spools."""
    keys = {name: running.add_stream(name) for name in ("good", "radio", "garbage", "silent")}
    with ExitStack() as stack:
        good = stack.enter_context(running.publish(clips["good"], keys["good"]))
        running.published_chunks(running.broadcast("good"), 1)
        with suppress(OSError), av.open(running.address(keys["silent"]), "w", format="flv") as silent:
            pictures = silent.add_stream("libx264", rate=25)
            pictures.width, pictures.height, pictures.pix_fmt = 320, 180, "yuv420p"
            silent.start_encoding()  # connects, publishes, and sends only metadata
            running.broadcast("silent")
            radio = stack.enter_context(running.publish(clips["radio"], keys["radio"]))
            # Replace every byte of every frame, but keep the sequence header.
            garbage = stack.enter_context(running.publish(clips["bad"], keys["garbage"], "-bsf:v", "noise=amount=1"))
            assert refused(running, clips["bad"], keys["good"]), "a second publisher of a live stream"
            assert refused(running, clips["bad"], keys["good"][:-1] + "_"), "a wrong key"
            assert refused(running, clips["bad"], "good"), "a name instead of a key"
            assert radio.wait(60) == 0
            garbage.wait(60)
            assert good.wait(60) == 0
            found = {name: running.broadcast(name) for name in keys}
            for spool in found.values():
                running.finished(spool)
    return found


def test_the_good_one_is_not_disturbed(
    running: Installation, spools: dict[str, BroadcastSpool], clips: dict[str, Clip]
) -> None:
    assert_exact(running.root(spools["good"]), [clips["good"]])
    assert status_warnings(spools["good"]) == []
    assert len(broadcasts(running.settings.spool_dir, "good")) == 1


def test_only_sound_becomes_a_radio_stream(
    running: Installation, spools: dict[str, BroadcastSpool], clips: dict[str, Clip]
) -> None:
    root = running.root(spools["radio"])
    assert is_static(root)
    (period,) = periods(root)
    assert list(period) == ["audio"]
    sound = decode_sound(period["audio"].data)
    assert abs(len(sound.samples) - published_samples(clips["radio"])) <= 2 * AAC_FRAME
    assert_ffmpeg_plays(root)


def test_rubbish_instead_of_pictures_is_said(running: Installation, spools: dict[str, BroadcastSpool]) -> None:
    assert spools["garbage"].status()["state"] == "finished"
    (warning,) = status_warnings(spools["garbage"])
    assert "the frame size of its video track is unknown" in warning
    assert not (running.root(spools["garbage"]) / "manifest.mpd").exists()


def test_a_publisher_that_sends_nothing_is_let_go_and_it_is_said(
    running: Installation, spools: dict[str, BroadcastSpool], clips: dict[str, Clip]
) -> None:
    (warning,) = status_warnings(spools["silent"])
    assert "ended before any video or audio arrived" in warning
    assert not (running.root(spools["silent"]) / "manifest.mpd").exists()


def test_nothing_is_left_of_them(running: Installation, spools: dict[str, BroadcastSpool], s3: S3) -> None:
    assert running.leftovers() == []
    wait_for(lambda: s3.objects("spool") == {}, "the bucket to be empty")
    assert running.cli.ffmpegs() == []
    log = running.log.read_text()
    assert "Traceback" not in log
