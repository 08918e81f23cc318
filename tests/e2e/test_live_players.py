"""dash.js, hls.js and shaka-player at the live edge, through a reconnect, and with the finished recording."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.browser import Player, PlayerHarness, PlayReport, Playing, open_harness
from tests.support.live import Installation, installation, is_static, periods, picture_numbers
from tests.support.media import Clip, make_clip
from tests.support.processes import wait_for

ENTRY: dict[Player, str] = {"dashjs": "manifest.mpd", "hlsjs": "master.m3u8", "shaka": "manifest.mpd"}
#: Longer than any of it takes; the publisher is killed when everything has been seen.
CLIP_FRAMES = 1250
PLAY_S = 8
AFTER_S = 6


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return make_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", frames=CLIP_FRAMES, gop=25)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, prefect_api: str, prefect_home: Path) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("live")
    # Long enough for a publisher on a busy machine to come back in time.
    with installation(folder, prefect_home, STREAMWAVE_RECONNECT_WINDOW_S="10") as found:
        yield found


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlayerHarness]:
    with open_harness(tmp_path_factory.mktemp("empty")) as opened:
        yield opened


def reports(pages: list[Playing]) -> dict[str, PlayReport]:
    found = {}
    for playing in pages:
        playing.page.wait_for_timeout(20)
        report = playing.report()
        if report is not None:
            found[playing.player] = report
    return found


def all_of(pages: list[Playing], condition: Callable[[PlayReport], bool], what: str, timeout_s: float) -> None:
    def met() -> bool:
        found = reports(pages)
        return len(found) == len(pages) and all(condition(report) for report in found.values())

    try:
        wait_for(met, what, timeout_s)
    except AssertionError:
        raise AssertionError(f"waited {timeout_s:g} s in vain for {what}: {reports(pages)}") from None


def serious(report: PlayReport) -> list[str]:
    """Errors other than those that hls.js itself calls not fatal: it tells of every hole that it goes over."""
    return [error for error in report.errors if json.loads(error.partition(": ")[2] or "{}").get("fatal") is not False]


def test_players_at_the_live_edge_through_a_reconnect_and_with_the_recording(
    running: Installation, harness: PlayerHarness, clip: Clip
) -> None:
    key = running.add_stream("show")
    players: list[Player] = ["dashjs", "hlsjs", "shaka"]
    with ExitStack() as stack:
        with running.publish(clip, key):
            spool = running.broadcast("show")
            base = f"http://127.0.0.1:{running.settings.media_port}/media/show/{spool.broadcast}"
            running.published_chunks(spool, 6)
            pages = [stack.enter_context(harness.playing(f"{base}/{ENTRY[player]}", player)) for player in players]
            all_of(pages, lambda r: r.played_s >= PLAY_S, "play at the live edge", 45)
            live = reports(pages)
            for name, report in live.items():
                assert report.problems == [], (name, report)
                # Not from the start: six chunks were there.
                assert report.heights_px == (90, 180)
                assert report.duration_s is None or report.duration_s > report.position_s
        # Its connection is cut; it comes back a second later.
        pages[0].page.wait_for_timeout(1000)
        with running.publish(clip, key):
            wait_for(lambda: len(spool.sessions()) == 2, "the second session", 15)
            wait_for(lambda: len(periods(running.root(spool))) == 2, "the second period", 20)
            # What is played after the hole: the position goes beyond where the second session began.
            begun = {name: report.position_s for name, report in reports(pages).items()}
            all_of(pages, lambda r: r.position_s >= begun[r.player] + AFTER_S + 4, "play after the reconnect", 60)
            for name, report in reports(pages).items():
                assert serious(report) == [], (name, report)
                assert report.requests_failed == (), (name, report)
    root = running.finished(spool)
    assert is_static(root)
    found = [picture_numbers(period, clip.rate) for period in periods(root)]
    assert [numbers == list(range(len(numbers))) for numbers in found] == [True, True]
    for player in players:
        report = harness.play(f"{base}/{ENTRY[player]}", player, timeout_s=90)
        assert report.problems == [], report
        assert report.ended
        assert report.frames_decoded >= sum(map(len, found)) - 2
