"""dash.js, hls.js and shaka-player at the live edge, through a reconnect, and with the finished recording."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.browser import Player, PlayerHarness, Playing, PlayReport
from tests.support.live import Installation, installation, is_static, period_starts_s, periods, picture_numbers
from tests.support.media import Clip, make_clip
from tests.support.processes import wait_for

ENTRY: dict[Player, str] = {"dashjs": "manifest.mpd", "hlsjs": "master.m3u8", "shaka": "manifest.mpd"}
#: The clip is looped until the publisher is killed, when all checks are done.
CLIP_FRAMES = 250
PLAY_S = 6
AFTER_S = 6
#: Maximum time of a reconnect on a busy machine, plus the players' buffers.
HOLE_S = 8


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    # No B-frames: they are sent after a frame that is presented later, so one could be missing after the kill.
    return make_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", frames=CLIP_FRAMES, gop=25, options=("-bf", "0"))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, prefect_api: str, prefect_home: Path) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("live")
    # Long enough for a publisher on a busy machine to reconnect in time.
    settings = {"STREAMWAVE_RECONNECT_WINDOW_S": "10", "PREFECT_API_URL": prefect_api}
    with installation(folder, prefect_home, **settings) as found:
        yield found


def reports(pages: list[Playing]) -> dict[str, PlayReport]:
    """The reports of all players so far."""
    found: dict[str, PlayReport] = {}
    for playing in pages:
        playing.page.wait_for_timeout(50)
        report = playing.report()
        if report is not None:
            found[playing.player] = report
    return found


def all_of(
    pages: list[Playing], condition: Callable[[PlayReport], bool], what: str, timeout_s: float
) -> dict[str, PlayReport]:
    """Wait until the reports of all players meet ``condition``, and return them."""
    end = time.monotonic() + timeout_s
    while True:
        found = reports(pages)
        if len(found) == len(pages) and all(condition(report) for report in found.values()):
            return found
        assert time.monotonic() < end, f"waited {timeout_s:g} s in vain for {what}: {found}"
        # Poll rarely, because the players need the CPU.
        pages[0].page.wait_for_timeout(250)


def serious(report: PlayReport) -> list[str]:
    """Errors, except those that hls.js reports as non-fatal: it reports every gap that it skips."""
    return [error for error in report.errors if json.loads(error.partition(": ")[2] or "{}").get("fatal") is not False]


def test_players_at_the_live_edge_through_a_reconnect_and_with_the_recording(
    running: Installation, harness: PlayerHarness, clip: Clip
) -> None:
    key = running.add_stream("show")
    pages: list[Playing] = []
    with ExitStack() as stack:
        with running.publish(clip, key, loop=True):
            spool = running.broadcast("show")
            base = f"http://127.0.0.1:{running.settings.media_port}/media/show/{spool.broadcast}"
            running.published_chunks(spool, 7)
            for player, entry in ENTRY.items():
                # One after the other, as viewers join.
                pages.append(stack.enter_context(harness.playing(f"{base}/{entry}", player)))
                all_of(pages, lambda r: r.started, "start", 120)
            played = all_of(pages, lambda r: r.played_s >= PLAY_S, "play at the live edge", 120)
            for _ in range(2):
                busy = [
                    n
                    for n, one in enumerate(pages)
                    if played[one.player].problems and played[one.player].frames_dropped
                ]
                for n in busy:  # repeat if the machine was too slow to show every frame
                    pages[n].page.goto("about:blank")
                    player = pages[n].player
                    pages[n] = stack.enter_context(harness.playing(f"{base}/{ENTRY[player]}", player))
                played = all_of(pages, lambda r: r.played_s >= PLAY_S, "play at the live edge", 120) if busy else played
            for name, report in played.items():
                assert report.problems == [], (name, report)
                assert report.heights_px == (90, 180)
                ((begin, _),) = report.played
                assert begin > 1, f"{name} began to play at the start and not at the live edge"
        # Its connection is cut; it reconnects a second later.
        pages[0].page.wait_for_timeout(1000)
        with running.publish(clip, key, loop=True):
            wait_for(lambda: len(period_starts_s(running.root(spool))) == 2, "the second period")
            again_s = period_starts_s(running.root(spool))[1]
            beyond = all_of(pages, lambda r: r.position_s >= again_s + AFTER_S, "play after the reconnect", 120)
            for name, report in beyond.items():
                assert serious(report) == [], (name, report)
                assert report.requests_failed == (), (name, report)
                # Players may stall only at the gap, or where they waited for the data after it.
                assert all(abs(stall.position_s - again_s) < HOLE_S for stall in report.stalls), (name, report)
                assert all(abs(position_s - again_s) < HOLE_S for position_s in report.jumps), (name, report)
    root = running.finished(spool)
    assert is_static(root)
    found = [picture_numbers(period, clip.rate) for period in periods(root)]
    assert len(found) == 2
    for numbers in found:
        assert numbers == [number % CLIP_FRAMES for number in range(len(numbers))]
    length_s = sum(map(len, found)) / clip.rate
    with ExitStack() as stack:
        pages = [stack.enter_context(harness.playing(f"{base}/{entry}", player)) for player, entry in ENTRY.items()]
        all_of(pages, lambda r: r.started, "start", 120)
        for playing in pages:
            playing.page.evaluate("document.querySelector('video').playbackRate = 2")
        for name, report in all_of(pages, lambda r: r.ended, "end", 120).items():
            assert report.problems == [], (name, report.problems)
            ((begin, end),) = report.played
            assert begin < 0.05 and abs(end - length_s) < 0.2, (name, report)
