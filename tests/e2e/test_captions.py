"""Embedded captions of the source are in every rendition, signalled in both manifests, and shown by players."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from services.media.server import MediaServer
from streamwave.ffmpeg.locate import locate
from tests.e2e.browser import Player, PlayerHarness
from tests.e2e.media import make_output
from tests.matrix.flv import read_tags
from tests.matrix.live import send, slowly
from tests.support.captions import add_captions, caption_of
from tests.support.cli import LADDER, Cli
from tests.support.live import Installation
from tests.support.media import ffmpeg, make_clip
from tests.support.player import representations
from tests.support.ports import free_port
from tests.support.processes import wait_for

SECONDS = 8
#: All except the last, which is never erased.
DUE = [caption_of(second) for second in range(SECONDS - 1)]

CUES = """
() => {
  const tracks = [...document.querySelector("video").textTracks];
  for (const track of tracks) if (track.mode === "disabled") track.mode = "hidden";
  return tracks.flatMap((track) => [...(track.cues ?? [])].map((cue) => cue.text.trim()));
}
"""
SHOWN = """
() => [...document.querySelector("video").textTracks]
  .filter((track) => track.mode === "showing").flatMap((track) => [...(track.activeCues ?? [])].map((cue) => cue.text.trim()))
"""
#: hls.js puts them into text tracks even if they are not selected.
TURN_ON: dict[Player, str] = {
    "dashjs": "() => { window.player.enableText(true); window.player.setTextTrack(0); }",
    "hlsjs": "() => {}",
    "shaka": "() => { const p = window.player; p.selectTextTrack(p.getTextTracks()[0]); p.setTextTrackVisibility?.(true); }",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Path:
    folder = tmp_path_factory.mktemp("captions")
    clip = make_clip(folder / "plain.mp4", frames=25 * SECONDS, gop=50)
    add_captions(clip.path, folder / "clip.mp4", 25)
    environment = {"PREFECT_API_URL": prefect_api, "STREAMWAVE_LADDER": json.dumps(LADDER)}
    done = Cli(folder, environment).run("transcode", str(folder / "clip.mp4"), "--output", str(folder / "out"))
    assert done.code == 0, done.err
    return folder / "out"


@pytest.fixture(scope="module")
def running(running_at_prefect: Installation) -> Installation:
    return running_at_prefect


@pytest.fixture(scope="module")
def address(root: Path) -> Iterator[str]:
    with MediaServer(root, port=free_port(), host="127.0.0.1") as server:
        yield server.url


@pytest.mark.parametrize("rendition", ["large", "small"])
def test_every_rendition_has_them(root: Path, tmp_path: Path, rendition: str) -> None:
    file = tmp_path / "rendition.mp4"
    file.write_bytes(representations(root)[rendition].data)
    command = [
        locate().path,
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        f"movie={file}[out+subcc]",
        "-map",
        "s",
        "-f",
        "srt",
        "-",
    ]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert [caption for caption in DUE if caption not in said] == []


#: dash.js drops captions that cross a segment boundary, which is every second one here.
KEPT: dict[Player, list[str]] = {"dashjs": DUE[2::2], "hlsjs": DUE[2:], "shaka": DUE[2:]}


@pytest.mark.parametrize("player", ["dashjs", "hlsjs", "shaka"])
def test_players_show_them(player: Player, harness: PlayerHarness, address: str) -> None:
    entry = "master.m3u8" if player == "hlsjs" else "manifest.mpd"
    with harness.playing(f"{address}/media/{entry}", player) as playing:
        playing.until(lambda report: report.played_s > 0.1)
        playing.page.evaluate(TURN_ON[player])
        seen: list[str] = []
        end = time.monotonic() + 90
        while time.monotonic() < end and (lacking := [due for due in KEPT[player] if due not in " ".join(seen)]):
            seen += playing.page.evaluate(CUES)
            playing.page.wait_for_timeout(100)
        assert lacking == []
        assert playing.until(lambda report: report.ended).problems == []


@pytest.mark.parametrize("entry", ["manifest.mpd", "master.m3u8"])
def test_the_page_shows_them_to_who_wants_them(harness: PlayerHarness, address: str, entry: str) -> None:
    with harness.page() as page:
        page.goto(f"{address}/?src=/media/{entry}")
        expect(page.locator("#captions")).to_be_visible(timeout=60_000)
        page.evaluate("() => { document.querySelector('video').loop = true; }")
        page.wait_for_timeout(2500)
        assert page.evaluate(SHOWN) == []
        page.keyboard.press("c")
        expect(page.locator("#captions")).to_have_attribute("aria-pressed", "true")
        wait_for(lambda: any("CAPTION" in cue for cue in page.evaluate(SHOWN)), "a caption")
        page.locator("#captions").click()
        page.wait_for_timeout(300)
        assert page.evaluate(SHOWN) == []


def _past(page: Page, second: int) -> None:
    place = "document.querySelector('video').currentTime"
    wait_for(lambda: float(page.evaluate(place)) > second, f"second {second}")


def test_viewers_who_are_there_when_captions_begin_play_on(
    harness: PlayerHarness, running: Installation, tmp_path: Path
) -> None:
    """HLS viewers are offered the captions; DASH viewers are too, once they open the recording."""
    clip = make_clip(tmp_path / "plain.mp4", frames=25 * 18, gop=25, options=("-bf", "0"))
    add_captions(clip.path, tmp_path / "later.mp4", 25, begin_s=12)
    ffmpeg("-i", str(tmp_path / "later.mp4"), "-c", "copy", str(tmp_path / "later.flv"))
    tags, all_there = read_tags(tmp_path / "later.flv"), threading.Event()
    address = running.address(running.add_stream("later"))
    with ThreadPoolExecutor(1) as pool, ExitStack() as stack:
        stack.callback(all_there.set)
        sent = pool.submit(send, slowly(tags, 9000, all_there), address)
        spool = running.broadcast("later")
        running.published_chunks(spool, 2)
        place = running.root(spool).relative_to(running.folder / "out")
        pages = {entry: stack.enter_context(harness.page()) for entry in ("manifest.mpd", "master.m3u8")}
        for entry, page in pages.items():
            page.goto(f"http://127.0.0.1:{running.settings.media_port}/?src=/media/{place}/{entry}")
        for page in pages.values():
            _past(page, 1)
        assert "CLOSED-CAPTIONS" not in (running.root(spool) / "master.m3u8").read_text()
        all_there.set()
        for page in pages.values():
            _past(page, 16)
        expect(pages["master.m3u8"].locator("#captions")).to_be_visible()
        sent.result(120)
    root = running.finished(spool)
    assert (
        "cea-608" in (root / "manifest.mpd").read_text() and "cea-608" not in (root / "manifest.live.mpd").read_text()
    )


def test_without_captions_there_is_no_button(harness: PlayerHarness, tmp_path: Path, prefect_api: str) -> None:
    make_output(tmp_path / "out", tmp_path, prefect_api)
    assert "CLOSED-CAPTIONS=NONE" in (tmp_path / "out" / "master.m3u8").read_text()
    with MediaServer(tmp_path / "out", port=free_port(), host="127.0.0.1") as server, harness.page() as page:
        page.goto(f"{server.url}/?src=/media/manifest.mpd")
        expect(page.locator("#quality option")).to_have_count(3, timeout=60_000)
        expect(page.locator("#captions")).to_be_hidden()
