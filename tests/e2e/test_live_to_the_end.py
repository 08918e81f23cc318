"""A live viewer sees a broadcast through a reconnect to its end, undisturbed when it becomes a recording."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from services.media.server import MediaServer
from streamwave.manifest.lines import BroadcastLine
from streamwave.manifest.packaged import PackagedChunk
from streamwave.publish.publication import Publication
from streamwave.storage.store import LocalStore
from tests.e2e.browser import Player, PlayerHarness, Playing, PlayReport
from tests.support.media import make_clip
from tests.support.ports import free_port
from tests.support.processes import wait_for
from tests.support.published import AUDIO, SMALL, packaged

ENTRY: dict[Player, str] = {"dashjs": "manifest.mpd", "hlsjs": "master.m3u8", "shaka": "manifest.mpd"}
#: Chunks of a session, one per second.
CHUNKS = 5
AWAY_S = 2
#: Time from the last frame of a chunk to the manifest that lists it.
LAG_S = 0.4
#: Start of the second session on each player's live timeline; HLS has no pause.
SEAM_S: dict[str, float] = {"dashjs": CHUNKS + AWAY_S, "hlsjs": CHUNKS, "shaka": CHUNKS + AWAY_S}
SEEK = "position => { document.querySelector('video').currentTime = position; document.querySelector('video').play() }"


class Live(threading.Thread):
    """Two sessions of ``chunks``, published to ``root`` in real time with a pause in between, and then ended."""

    def __init__(self, root: Path, chunks: list[PackagedChunk], **header: Any) -> None:
        super().__init__(daemon=True)
        self.chunks, self.published, self.ended = chunks, 0, False
        self.publication = Publication(LocalStore(root), manifests=True, token="t")
        now_ms = time.time_ns() // 1_000_000
        self.header = BroadcastLine(created_unix_ms=now_ms, segment_ms=1000, fingerprint="f", **header)

    def run(self) -> None:
        self.publication.begin(self.header)
        for session in range(2):
            begins_s = session * (CHUNKS + AWAY_S)
            for number, chunk in enumerate(self.chunks):
                self.sleep_until(begins_s + number + 1 + LAG_S)
                wall_ms = self.header.created_unix_ms + begins_s * 1000
                self.publication.publish(chunk, f"s{session}", f"p{session}", wall_ms)
                self.published += 1
        # Players have fetched everything long before the end of the reconnect window.
        self.sleep_until(2 * CHUNKS + 2 * AWAY_S + LAG_S)
        self.publication.finish()
        self.publication.close()
        self.ended = True

    def sleep_until(self, since_begin_s: float) -> None:
        time.sleep(max(0.0, self.header.created_unix_ms / 1000 + since_begin_s - time.time()))


@pytest.fixture(scope="module")
def chunks(tmp_path_factory: pytest.TempPathFactory) -> list[PackagedChunk]:
    folder = tmp_path_factory.mktemp("session")
    made = packaged(folder, make_clip(folder / "clip.mp4", frames=CHUNKS * 25, gop=25), b_frames=False)
    assert len(made) == CHUNKS
    return made


@contextmanager
def watched(harness: PlayerHarness, live: Live, media: Path, path: str) -> Iterator[list[Playing]]:
    """A page per player that watches ``live``, which is published to ``path`` below ``media``."""
    with ExitStack() as stack:
        server = stack.enter_context(MediaServer(media, port=free_port(), host="127.0.0.1"))
        live.start()
        wait_for(lambda: live.published >= 2, "the second chunk")
        yield [
            stack.enter_context(harness.playing(f"{server.url}/media/{path}/{entry}", player))
            for player, entry in ENTRY.items()
        ]


def all_of(pages: list[Playing], condition: Callable[[PlayReport], bool], what: str) -> list[PlayReport]:
    """Wait until the reports of all players meet ``condition``, and return them."""
    end = time.monotonic() + 90
    while True:
        found = [playing.report() for playing in pages]
        if all(report is not None and condition(report) for report in found):
            return [report for report in found if report is not None]
        assert time.monotonic() < end, f"waited in vain for {what}: {found}"
        pages[0].page.wait_for_timeout(200)


def assert_no_error(report: PlayReport) -> None:
    # hls.js reports every gap as a non-fatal error.
    assert [error for error in report.errors if '"fatal":false' not in error] == [], report
    assert report.requests_failed == (), report


def assert_undisturbed(report: PlayReport) -> None:
    """Check that there was no error, that the player skipped no gap except the reconnect, and that it played to the end."""
    assert_no_error(report)
    seam_s = SEAM_S[report.player]
    assert all(begin > CHUNKS - 0.5 and end <= seam_s + 0.1 for begin, end in report.skipped), report
    (begin_s, _), (_, end_s) = report.played[0], report.played[-1]
    assert begin_s <= seam_s + 0.1, report
    assert end_s == pytest.approx(seam_s + CHUNKS, abs=0.1), report


def test_through_a_reconnect_to_the_end_and_from_the_start_again(
    harness: PlayerHarness, chunks: list[PackagedChunk], tmp_path: Path
) -> None:
    live = Live(tmp_path / "show" / "b1", chunks)
    with watched(harness, live, tmp_path, "show/b1") as pages:
        for report in all_of(pages, lambda r: r.ended, "the end"):
            assert live.ended
            assert_undisturbed(report)
            assert report.duration_s == pytest.approx(SEAM_S[report.player] + CHUNKS, abs=0.1), report
        for playing in pages:
            playing.page.evaluate(SEEK, 0)
        all_of(pages, lambda r: 0.5 < r.position_s < CHUNKS, "the start")
        for playing in pages:
            playing.page.evaluate(SEEK, CHUNKS - 1)
        for report in all_of(pages, lambda r: r.position_s > SEAM_S[r.player] + 1, "what comes after the pause"):
            assert_no_error(report)
        # New viewers find the recording, without the pause, at the same address.
        for player in ("dashjs", "shaka"):
            (page,) = (playing.page for playing in pages if playing.player == player)
            recording = harness.play(page.evaluate("new URLSearchParams(location.search).get('src')"), player)
            assert recording.problems == [], recording
            assert recording.duration_s == pytest.approx(2 * CHUNKS, abs=0.1)


def test_our_page_offers_the_whole_recording_to_who_watched_through_a_window_by_hls(
    harness: PlayerHarness, chunks: list[PackagedChunk], tmp_path: Path
) -> None:
    live = Live(tmp_path / "show" / "b1", chunks, dvr_window_ms=4000)
    with MediaServer(tmp_path, port=free_port(), host="127.0.0.1") as server, harness.page() as page:
        live.start()
        wait_for(lambda: live.published >= CHUNKS + 2, "a window that has left the beginning behind")
        page.goto(f"{server.url}/?src=/media/show/b1/master.m3u8")
        expect(page.locator("#badge")).to_have_text("LIVE", timeout=60_000)
        page.locator("#quality").select_option("60")
        wait_for(lambda: live.published == 2 * CHUNKS, "the last chunk")
        assert page.evaluate("Number(document.querySelector('#seek').max)") > 0
        expect(page.locator("#badge")).to_have_text("RECORDING", timeout=60_000)
        # The window had four of its ten seconds; no page had to be reloaded.
        expect(page.locator("#time")).to_contain_text("/ 0:10", timeout=60_000)
        # Playback continued to the end.
        wait_for(lambda: page.evaluate("document.querySelector('video').ended"), "the end")
        assert page.evaluate("document.querySelector('video').currentTime") == pytest.approx(2 * CHUNKS, abs=0.1)
        assert page.evaluate("document.querySelector('video').videoHeight") == 60
        page.keyboard.press("Home")
        page.keyboard.press("k")
        wait_for(
            lambda: 0.5 < page.evaluate("document.querySelector('video').currentTime") < 4, "the first seconds", 120
        )


def test_to_the_end_of_a_channel_that_keeps_only_its_window(
    harness: PlayerHarness, chunks: list[PackagedChunk], tmp_path: Path
) -> None:
    live = Live(tmp_path / "show" / "b1", chunks, dvr_window_ms=5000, keep=False)
    with watched(harness, live, tmp_path, "show/b1") as pages:
        for report in all_of(pages, lambda r: r.ended, "the end"):
            assert_undisturbed(report)


def test_who_joins_inside_the_first_segment_fills_the_buffer_again(harness: PlayerHarness, tmp_path: Path) -> None:
    """With five segments, shaka-player begins inside the first one, where it may stop fetching (harness/shaka.js)."""
    clip = make_clip(tmp_path / "clip.mp4", frames=16 * 25, gop=25, size="96x54")
    made = packaged(tmp_path, clip, (SMALL, AUDIO), b_frames=False)
    created_ms = time.time_ns() // 1_000_000 - 5000
    live = Publication(LocalStore(tmp_path / "show" / "b1"), manifests=True, token="t")
    live.begin(BroadcastLine(created_unix_ms=created_ms, segment_ms=1000, fingerprint="f"))
    for chunk in made[:5]:
        live.publish(chunk, "s0", "p0", created_ms)
    with MediaServer(tmp_path, port=free_port(), host="127.0.0.1") as server, ExitStack() as stack:
        url = f"{server.url}/media/show/b1/manifest.mpd"
        pages = [stack.enter_context(harness.playing(url, "shaka")) for _ in range(5)]
        all_of(pages, lambda report: report.started, "the start")
        for chunk in made[5:]:
            live.publish(chunk, "s0", "p0", created_ms)
        # The buffering goal is 10 s, so this is beyond what a player wants to have at its start.
        end = "document.querySelector('video').buffered.end(0)"
        wait_for(lambda: min(playing.page.evaluate(end) for playing in pages) > 12.5, "more than the first buffer")
    live.close()


def test_our_page_says_that_nothing_arrives_until_it_does(
    harness: PlayerHarness, chunks: list[PackagedChunk], tmp_path: Path
) -> None:
    created_ms = time.time_ns() // 1_000_000 - CHUNKS * 1000
    live = Publication(LocalStore(tmp_path / "show" / "b1"), manifests=True, token="t")
    live.begin(BroadcastLine(created_unix_ms=created_ms, segment_ms=1000, fingerprint="f"))
    for chunk in chunks:
        live.publish(chunk, "s0", "p0", created_ms)
    with MediaServer(tmp_path, port=free_port(), host="127.0.0.1") as server, harness.page() as page:
        page.goto(f"{server.url}/?src=/media/show/b1/manifest.mpd")
        expect(page.locator("#away")).to_contain_text("resumes automatically", timeout=60_000)
        back_ms = time.time_ns() // 1_000_000 - 2000
        for chunk in chunks:
            live.publish(chunk, "s1", "p1", back_ms)
        expect(page.locator("#away")).to_have_text("", timeout=60_000)
        wait_for(
            lambda: page.evaluate("document.querySelector('video').currentTime") > (back_ms - created_ms) / 1000,
            "the pictures after the pause", 120,
        )  # fmt: skip
    live.finish()
    live.close()
