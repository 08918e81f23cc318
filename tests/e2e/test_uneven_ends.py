"""All players reach the end if the frame rate is low, or if video and audio end at different times.

TESTS_FULL=1 also plays long recordings completely, and everything at normal speed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import pytest

from services.media.server import MediaServer
from tests.e2e.browser import PlayerHarness, PlayReport
from tests.matrix.cell import SMALL_LADDER
from tests.matrix.flv import read_tags
from tests.matrix.live import PLAYERS, send, slowly
from tests.matrix.pipeline import transcode
from tests.matrix.source import Recipe
from tests.support.live import Installation, periods
from tests.support.player import decode_pictures
from tests.support.ports import free_port
from tests.support.standing import PLAIN

F = Fraction
FULL = bool(os.environ.get("TESTS_FULL"))
#: Playback rate.
SPEED = 1 if FULL else 4
#: Recordings that are played completely, with their lengths.
WHOLE = {
    "sound 1 s longer": (Recipe(frames=50, sound_until=F(3)), 3),
    "sound 5 s longer": (Recipe(frames=50, sound_until=F(7)), 7),
    "pictures 1 s longer": (Recipe(frames=75, sound_until=F(2)), 3),
    "pictures 5 s longer": (Recipe(frames=175, sound_until=F(2)), 7),
    "1 fps": (Recipe(rate=F(1), frames=20, gop=20), 20),
    "half a picture a second": (Recipe(rate=F(1, 2), frames=10, gop=10), 20),
}
#: Recordings that are played from their start for a while and, after a seek, to their end.
SOUGHT = {
    "sound 60 s longer": (Recipe(frames=50, sound_until=F(62)), 62),
    "pictures 60 s longer": (Recipe(frames=1550, size=(128, 72), sound_until=F(2)), 62),
    "one picture": (Recipe(frames=1, sound_until=F(120)), 120),
}
WHOLE |= SOUGHT if FULL else {}
END_S = 5
LIMIT_S = 90 if not FULL else 180
#: Times at which a camera's video pauses, returns and stops for good, and at which its audio ends.
STOPS_S, BACK_S, GONE_S, SOUND_S = 8, 16, 20, 30


@pytest.fixture(scope="module")
def running(running_at_prefect: Installation) -> Installation:
    return running_at_prefect


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """The URL of a recording by its name; made at its first use, so that each worker makes only what it plays."""
    folder = tmp_path_factory.mktemp("uneven")
    with MediaServer(folder, port=free_port(), host="127.0.0.1") as server:

        def made(name: str) -> str:
            work = folder / name.replace(" ", "-")
            if not work.exists():
                work.mkdir()
                transcode({**WHOLE, **SOUGHT}[name][0].make(work / "source"), work, ladder=SMALL_LADDER, segment_s=2)
            return f"{server.url}/media/{work.name}/out"

        yield made


def play(harness: PlayerHarness, base: str, seek_s: float | None = None) -> dict[str, PlayReport]:
    """Play in all players concurrently, after a seek to ``seek_s`` if given, and return their reports."""
    with ExitStack() as stack:
        pages = [stack.enter_context(harness.playing(f"{base}/{entry}", player)) for player, entry in PLAYERS]
        for playing in pages:
            playing.until(lambda report: report.started)
            playing.page.evaluate(f"document.querySelector('video').playbackRate = {SPEED}")
        if seek_s is not None:
            for playing in pages:
                playing.until(lambda report: report.played_s > 1)
                playing.page.evaluate(f"document.querySelector('video').currentTime = {seek_s}")
        return {playing.player: playing.until(lambda report: report.ended, LIMIT_S) for playing in pages}


@pytest.mark.parametrize("name", WHOLE)
def test_plays_from_start_to_end(name: str, harness: PlayerHarness, served: Callable[[str], str]) -> None:
    due_s = WHOLE[name][1]
    for player, report in play(harness, served(name)).items():
        assert report.ended and not report.timed_out and not report.errors and not report.requests_failed, (
            player,
            report,
        )
        # At a multiple of the speed, players may wait for a moment on a busy machine.
        assert not report.jumps and not [stall for stall in report.stalls if FULL or stall.kind == "frozen"], report
        assert report.duration_s == pytest.approx(due_s, abs=0.2), player
        assert report.played_s == pytest.approx(due_s, abs=0.3), player


@pytest.mark.parametrize("name", SOUGHT)
def test_plays_its_beginning_and_its_end(name: str, harness: PlayerHarness, served: Callable[[str], str]) -> None:
    due_s = SOUGHT[name][1]
    for player, report in play(harness, served(name), due_s - END_S).items():
        # Requests that hls.js aborts because of a seek are not failures.
        errors = [error for error in report.errors if '"details":"aborted","fatal":false' not in error]
        assert report.ended and not report.timed_out and not errors, (player, report)
        assert report.duration_s == pytest.approx(due_s, abs=0.2), player
        assert report.played[-1] == pytest.approx((due_s - END_S, due_s), abs=0.3), player


def test_a_camera_that_rests_and_stops_before_its_sound_while_it_is_watched(
    running: Installation, harness: PlayerHarness, tmp_path: Path
) -> None:
    rate, rests = 25, BACK_S - STOPS_S
    times = tuple(F(n, rate) + (rests if n >= STOPS_S * rate else 0) for n in range((GONE_S - rests) * rate))
    recipe = Recipe("flv", times=times, sound_until=F(SOUND_S), codec=PLAIN)
    tags = sorted(read_tags(recipe.make(tmp_path / "source")), key=lambda tag: (tag.ms, not tag.header))
    address, watched = running.address(running.add_stream("show")), threading.Event()
    with ThreadPoolExecutor(1) as pool, ExitStack() as stack:
        stack.callback(watched.set)
        sent = pool.submit(send, slowly(tags, (STOPS_S - 2) * 1000, watched), address)
        spool = running.broadcast("show")
        base = f"http://127.0.0.1:{running.settings.media_port}/media/show/{spool.broadcast}"
        running.published_chunks(spool, 2)
        pages = [stack.enter_context(harness.playing(f"{base}/{entry}", player)) for player, entry in PLAYERS]
        for playing in pages:
            playing.until(lambda report: report.started)
        watched.set()
        # From the end of the video to the end of the audio.
        for playing in pages:
            report = playing.until(lambda report: report.ended, 150)
            # While it is not known yet whether the camera only rests, a player with a short buffer waits.
            assert report.ended, report
            assert not report.skipped, report
            assert report.played[0][0] < STOPS_S + 3 and report.position_s > SOUND_S - 2, report
        sent.result()
    (period,) = periods(running.finished(spool))
    for one in period.values():
        if one.kind == "video":
            numbers = [picture.number for picture in decode_pictures(one.data, one.timescale)]
            assert set(numbers) == set(range(len(times))) and numbers == sorted(numbers)
            assert abs(len(numbers) - SOUND_S * rate) <= 2
