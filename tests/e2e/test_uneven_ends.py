"""All players come to the end where pictures are few, or stop before their sound, or the sound before them.

TESTS_FULL=1 plays what is long from its beginning to its end as well, and all of it at the usual speed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import pytest

from services.media.server import MediaServer
from tests.e2e.browser import PlayerHarness, PlayReport, open_harness
from tests.matrix.cell import SMALL_LADDER
from tests.matrix.flv import read_tags
from tests.matrix.live import PLAYERS, send
from tests.matrix.pipeline import transcode
from tests.matrix.source import Recipe
from tests.support.live import Installation
from tests.support.ports import free_port
from tests.support.standing import PLAIN

F = Fraction
FULL = bool(os.environ.get("TESTS_FULL"))
#: How fast it is played.
SPEED = 1 if FULL else 4
#: What is played from its beginning to its end, and how long that is.
WHOLE = {
    "sound 1 s longer": (Recipe(frames=50, sound_until=F(3)), 3),
    "sound 5 s longer": (Recipe(frames=50, sound_until=F(7)), 7),
    "pictures 6 s longer": (Recipe(frames=200, sound_until=F(2)), 8),
    "1 fps": (Recipe(rate=F(1), frames=20, gop=20), 20),
    "half a picture a second": (Recipe(rate=F(1, 2), frames=10, gop=10), 20),
}
#: What is played from its beginning for a while and, after a seek, to its end.
SOUGHT = {
    "sound 60 s longer": (Recipe(frames=50, sound_until=F(62)), 62),
    "one picture": (Recipe(frames=1, sound_until=F(120)), 120),
}
WHOLE |= SOUGHT if FULL else {}
END_S = 5
LIMIT_S = 90 if not FULL else 180
#: When a camera stops, well before its sound.
STOPS_S = 8


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlayerHarness]:
    with open_harness(tmp_path_factory.mktemp("empty")) as opened:
        yield opened


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address below which all of them lie by name."""
    folder = tmp_path_factory.mktemp("uneven")
    for name, (recipe, _) in {**WHOLE, **SOUGHT}.items():
        work = folder / name.replace(" ", "-")
        work.mkdir()
        transcode(recipe.make(work / "source"), work, ladder=SMALL_LADDER, segment_s=2)
    server = MediaServer(folder, port=free_port(), host="127.0.0.1")
    server.start()
    yield f"{server.url}/media"
    server.stop()


def play(harness: PlayerHarness, base: str, seek_s: float | None = None) -> dict[str, PlayReport]:
    """What all players have done at the end, side by side; with ``seek_s`` they go there first."""
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
def test_plays_from_start_to_end(name: str, harness: PlayerHarness, served: str) -> None:
    due_s = WHOLE[name][1]
    for player, report in play(harness, f"{served}/{name.replace(' ', '-')}/out").items():
        assert report.ended and not report.timed_out and not report.errors and not report.requests_failed, (
            player,
            report,
        )
        # At several times the speed, a busy machine has it wait for a moment.
        assert not report.jumps and not [stall for stall in report.stalls if FULL or stall.kind == "frozen"], report
        assert report.duration_s == pytest.approx(due_s, abs=0.2), player
        assert report.played_s == pytest.approx(due_s, abs=0.3), player


@pytest.mark.parametrize("name", SOUGHT)
def test_plays_its_beginning_and_its_end(name: str, harness: PlayerHarness, served: str) -> None:
    due_s = SOUGHT[name][1]
    for player, report in play(harness, f"{served}/{name.replace(' ', '-')}/out", due_s - END_S).items():
        # What hls.js no longer waits for once it has been sent elsewhere is no failure.
        errors = [error for error in report.errors if '"details":"aborted","fatal":false' not in error]
        assert report.ended and not report.timed_out and not errors, (player, report)
        assert report.duration_s == pytest.approx(due_s, abs=0.2), player
        assert report.played[-1] == pytest.approx((due_s - END_S, due_s), abs=0.3), player


def test_a_camera_that_stops_before_its_sound_while_it_is_watched(
    running: Installation, harness: PlayerHarness, tmp_path: Path
) -> None:
    recipe = Recipe("flv", frames=200, sound_until=F(STOPS_S + 24), codec=PLAIN)
    tags = sorted(read_tags(recipe.make(tmp_path / "source")), key=lambda tag: (tag.ms, not tag.header))
    address = running.address(running.add_stream("show"))
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(send, tags, address)
        spool = running.broadcast("show")
        base = f"http://127.0.0.1:{running.settings.media_port}/media/show/{spool.broadcast}"
        running.published_chunks(spool, 3)
        with ExitStack() as stack:
            pages = [stack.enter_context(harness.playing(f"{base}/{entry}", player)) for player, entry in PLAYERS]
            for playing in pages:
                playing.until(lambda report: report.started)
            # From when the camera was there until all of the sound has been heard.
            for playing in pages:
                report = playing.until(lambda report: report.ended, 150)
                assert report.ended and not [stall for stall in report.stalls if stall.kind == "frozen"], report
                assert report.played[0][0] < STOPS_S + 3 and report.position_s > STOPS_S + 22, report
        sent.result()
