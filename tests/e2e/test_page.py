"""The player page in a browser: it plays, offers choices, lists broadcasts and reports errors."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from services.media.exposure import Exposure
from services.media.server import MediaServer, PublishAddress
from tests.e2e.browser import PlayerHarness
from tests.e2e.media import make_output
from tests.support.ports import free_port

TIMEOUT_MS = 60_000


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def address(root: Path, tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Iterator[str]:
    make_output(root / "concert" / "b1", tmp_path_factory.mktemp("work"), prefect_api)
    with MediaServer(root, port=free_port(), host="127.0.0.1") as server:
        yield server.url


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MediaServer]:
    """A media server that is configured for publishers with a non-default port and application; nothing is published yet."""
    rtmp = PublishAddress(port=free_port(), application="stage")
    with MediaServer(tmp_path_factory.mktemp("new"), port=free_port(), host="127.0.0.1", rtmp=rtmp) as server:
        yield server


@pytest.fixture
def page(harness: PlayerHarness) -> Iterator[Page]:
    """A page. At the end, no script may have thrown, violated the page's CSP or contacted another host."""
    with harness.page() as page:
        page.set_default_timeout(TIMEOUT_MS)
        found: list[str] = []
        page.on("pageerror", lambda error: found.append(str(error)))
        page.on("console", lambda m: found.append(m.text) if "Content Security Policy" in m.text else None)
        page.on(
            "request", lambda r: found.append(r.url) if not r.url.startswith(("http://127.0.0.1:", "blob:")) else None
        )
        yield page
        assert found == []


def position_s(page: Page) -> float:
    return float(page.evaluate("document.querySelector('video').currentTime"))


def wait_for(page: Page, condition: str) -> None:
    # Playwright's wait_for_function uses eval inside the page, which the page's CSP forbids.
    deadline = time.monotonic() + TIMEOUT_MS / 1000
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, f"never came true: {condition}"
        page.wait_for_timeout(50)


@pytest.mark.parametrize("source", ["manifest.mpd", "", "master.m3u8"])
def test_plays_and_offers_qualities(page: Page, address: str, source: str) -> None:
    page.goto(f"{address}/?src=/media/concert/b1/{source}")
    expect(page.locator("#quality option")).to_have_count(3, timeout=TIMEOUT_MS)
    choices = page.locator("#quality option").all_text_contents()
    assert choices[0].startswith("Auto")
    assert [choice.split(" ")[0] for choice in choices[1:]] == ["180p", "90p"]
    wait_for(page, "document.querySelector('video').currentTime > 0.5")
    expect(page.locator("#badge")).to_have_text("RECORDING")
    expect(page.locator("#facts")).to_contain_text("hls.js" if source.endswith("m3u8") else "dash.js")
    expect(page.locator("#time")).to_contain_text("/ 0:06")


def test_chosen_quality_is_shown(page: Page, address: str) -> None:
    page.goto(f"{address}/?src=/media/concert/b1/manifest.mpd")
    expect(page.locator("#quality option")).to_have_count(3, timeout=TIMEOUT_MS)
    for key in ("90", "180"):
        page.locator("#quality").select_option(key)
        wait_for(page, f"document.querySelector('video').videoHeight === {key}")


def test_keyboard(page: Page, address: str) -> None:
    page.goto(f"{address}/?src=/media/concert/b1/manifest.mpd")
    wait_for(page, "document.querySelector('video').currentTime > 0.2")
    page.keyboard.press("k")
    wait_for(page, "document.querySelector('video').paused")
    page.keyboard.press("ArrowRight")
    wait_for(page, "document.querySelector('video').currentTime > 4.5")
    page.keyboard.press("Home")
    wait_for(page, "document.querySelector('video').currentTime === 0")
    page.keyboard.press("m")
    expect(page.locator("#mute")).to_have_attribute("aria-label", "Turn sound on")
    page.keyboard.press(" ")
    wait_for(page, "document.querySelector('video').ended")
    assert position_s(page) == pytest.approx(6, abs=0.1)


@pytest.mark.parametrize(
    ("source", "title"),
    [
        ("/media/none/manifest.mpd", "Broadcast not found"),
        ("/media/none/master.m3u8", "Broadcast not found"),
        ("javascript:alert(1)", "This address cannot be played"),
        ("file:///etc/passwd", "This address cannot be played"),
        ("http://user:secret@127.0.0.1/x.mpd", "This address cannot be played"),
        ("http://127.0.0.1:9/media/concert/b1/manifest.mpd", "This page may not play from that server"),
    ],
)
def test_says_what_is_wrong(page: Page, address: str, source: str, title: str) -> None:
    page.goto(f"{address}/?src={source}")
    expect(page.locator("#problem-title")).to_have_text(title, timeout=TIMEOUT_MS)


def test_plays_from_servers_that_the_settings_name(page: Page, address: str, tmp_path: Path) -> None:
    with MediaServer(tmp_path, port=free_port(), host="127.0.0.1", exposure=Exposure(play_from=(address,))) as server:
        page.goto(f"{server.url}/?src={address}/media/concert/b1/manifest.mpd")
        wait_for(page, "document.querySelector('video').currentTime > 0.2")


def test_says_that_players_are_missing(page: Page, root: Path, tmp_path: Path) -> None:
    with MediaServer(root, port=free_port(), host="127.0.0.1", vendor=tmp_path) as server:
        page.goto(f"{server.url}/?src=/media/concert/b1/manifest.mpd")
        expect(page.locator("#problem-title")).to_have_text("The players are not installed", timeout=TIMEOUT_MS)


def test_says_where_to_publish(page: Page, elsewhere: MediaServer) -> None:
    page.goto(f"{elsewhere.url}/")
    assert elsewhere.rtmp is not None
    expect(page.locator("#obs-server")).to_have_text(
        f"rtmp://127.0.0.1:{elsewhere.rtmp.port}/stage", timeout=TIMEOUT_MS
    )
    expect(page.locator("#obs-server")).to_be_visible()


def test_the_address_of_a_stream_waits_for_its_broadcasts_and_plays_them(page: Page, root: Path, address: str) -> None:
    """The address to watch that ``streams add`` prints is the same for every broadcast of the stream."""
    index = root / "broadcasts.json"
    entry = {"stream": "concert", "id": "b1", "title": "First", "state": "ended", "started_unix_ms": 1_700_000_000_000}
    entry |= {"duration_ms": 6000, "manifest": "concert/b1/manifest.mpd", "hls": "concert/b1/master.m3u8"}
    other = {**entry, "stream": "other", "id": "b2", "state": "live", "manifest": "other/b2/manifest.mpd"}
    try:
        index.write_text(json.dumps({"broadcasts": [entry, other]}))
        page.goto(f"{address}/?stream=concert")
        expect(page.locator("#live .card")).to_have_count(1, timeout=TIMEOUT_MS)
        expect(page.locator("#problem-title")).to_have_text("Not live at the moment")
        expect(page.locator("#title")).to_have_text("concert")

        index.write_text(json.dumps({"broadcasts": [{**entry, "state": "live"}, other]}))
        expect(page.locator("#title")).to_have_text("First", timeout=TIMEOUT_MS)
        wait_for(page, "document.querySelector('video').currentTime > 0.5")
        expect(page.locator("#problem")).to_be_hidden()
        wait_for(page, "document.querySelector('video').ended")

        shutil.copytree(root / "concert" / "b1", root / "concert" / "b3")
        again = {**entry, "id": "b3", "title": "Second", "state": "live", "started_unix_ms": 1_700_000_100_000}
        again |= {"manifest": "concert/b3/manifest.mpd", "hls": "concert/b3/master.m3u8"}
        index.write_text(json.dumps({"broadcasts": [entry, again]}))
        expect(page.locator("#title")).to_have_text("Second", timeout=TIMEOUT_MS)
        # From its beginning, not from the position in the previous one.
        wait_for(page, "document.querySelector('video').currentTime < 3")
        wait_for(page, "document.querySelector('video').currentTime > 0.5")
        assert page.evaluate("document.querySelector('video').currentTime") < 4
    finally:
        index.unlink()


def test_list_appears_changes_and_goes(page: Page, root: Path, address: str) -> None:
    page.goto(f"{address}/")
    expect(page.locator("#empty")).to_be_visible(timeout=TIMEOUT_MS)
    # This server does not accept publishers, so the page has no address to publish to.
    expect(page.locator("#obs-server-row")).to_be_hidden()

    entry = {
        "stream": "concert",
        "id": "b1",
        "title": "<img src=x onerror=alert(1)>",
        "state": "live",
        "started_unix_ms": 1_700_000_000_000,
        "duration_ms": 6000,
        "manifest": "concert/b1/manifest.mpd",
        "hls": "concert/b1/master.m3u8",
        "thumbnail": None,
    }
    outside = {**entry, "id": "b2", "manifest": "../vendor/x.mpd", "hls": "javascript:alert(1)"}
    index = root / "broadcasts.json"
    try:
        index.write_text(json.dumps({"broadcasts": [entry, outside, None, 7]}))
        expect(page.locator("#live .card")).to_have_count(1, timeout=TIMEOUT_MS)
        expect(page.locator("#live .name")).to_have_text("<img src=x onerror=alert(1)>")
        expect(page.locator("#empty")).to_be_hidden()

        index.write_text(json.dumps({"broadcasts": [{**entry, "state": "ended"}]}))
        expect(page.locator("#ended .card .mark")).to_have_text("0:06", timeout=TIMEOUT_MS)
        expect(page.locator("#live .card")).to_have_count(0)

        page.locator("#ended .card a").click()
        expect(page.locator("#title")).to_have_text("<img src=x onerror=alert(1)>", timeout=TIMEOUT_MS)
        wait_for(page, "document.querySelector('video').currentTime > 0.5")

        index.write_text("not json")
        expect(page.locator("#unreachable")).to_be_visible(timeout=TIMEOUT_MS)
    finally:
        index.unlink()
