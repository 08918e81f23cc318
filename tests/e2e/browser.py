"""Plays streams in headless Chromium with dash.js, hls.js or shaka-player, and reports what happened."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

from playwright.sync_api import Browser, Page, expect, sync_playwright

from services.media.exposure import Exposure
from services.media.server import MediaServer
from tests.support.ports import free_port

HARNESS = Path(__file__).parent / "harness"
Player = Literal["dashjs", "hlsjs", "shaka"]

#: The harness page plays streams from other servers.
ANYWHERE = Exposure(play_from=("*",))

#: A host name that the browser resolves to this machine, for attackers.
EVIL = "evil.example"

#: Software decoding, no services of its own, no permission needed to play.
CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    f"--host-resolver-rules=MAP {EVIL} 127.0.0.1",
)


@dataclass(frozen=True)
class Stall:
    """Playback that stopped: ``kind`` is waiting or stalled (reported by the browser) or frozen (by the watchdog)."""

    kind: str
    position_s: float


@dataclass(frozen=True)
class PlayReport:
    """What a player did. Positions are in seconds of media time, as reported by the browser.

    ``errors`` are all error events, fatal or not; ``requests_failed`` the failed requests; ``jumps`` the positions after the
    player skipped a gap by itself; ``played`` half-open ranges; ``timed_out`` means that neither the end nor the requested
    position was reached in time.
    """

    player: str
    errors: tuple[str, ...]
    requests_failed: tuple[str, ...]
    stalls: tuple[Stall, ...]
    jumps: tuple[float, ...]
    started: bool
    ended: bool
    timed_out: bool
    position_s: float
    duration_s: float | None
    played: tuple[tuple[float, float], ...]
    frames_decoded: int
    frames_dropped: int
    heights_px: tuple[int, ...]
    startup_s: float

    @property
    def problems(self) -> list[str]:
        """Everything that a viewer could have noticed, as sentences; empty if playback was flawless."""
        found = [*self.errors, *(f"failed request: {what}" for what in self.requests_failed)]
        found += [f"{stall.kind} at {stall.position_s:.2f} s" for stall in self.stalls]
        found += [f"jumped to {position:.2f} s" for position in self.jumps]
        if not self.started:
            found.append("never started")
        elif self.timed_out:
            found.append(f"timed out at {self.position_s:.2f} s of {self.duration_s} s")
        return found

    @property
    def skipped(self) -> list[tuple[float, float]]:
        """Parts between those that were shown.

        shaka-player seeks 0.1 s ahead if playback stands still for a second, as happens on a busy machine: that does not count.
        """
        gaps = [(before[1], after[0]) for before, after in pairwise(self.played)]
        return [(begin, end) for begin, end in gaps if end - begin >= 0.2]

    @property
    def played_s(self) -> float:
        """Seconds of the presentation that were shown."""
        return sum(end - start for start, end in self.played)


#: Five seconds by itself, which a busy machine may need to load a page.
expect.set_options(timeout=60_000)


class PlayerHarness:
    """A browser with a page per player; reuse it, because starting Chromium takes seconds."""

    def __init__(self, launch: Callable[[], Browser], address: str) -> None:
        self._launch, self._browser, self._address = launch, launch(), address

    def close(self) -> None:
        """End the browser."""
        self._browser.close()

    @contextmanager
    def page(self, **options: Any) -> Iterator[Page]:
        """A new page with its own cache; ``options`` are those of Playwright's ``new_context``."""
        if not self._browser.is_connected():  # an earlier test has brought it down
            self._browser = self._launch()
        context = self._browser.new_context(**options)
        try:
            yield context.new_page()
        finally:
            context.close()

    @contextmanager
    def playing(self, url: str, player: Player) -> Iterator[Playing]:
        """A page that plays ``url``; several can play concurrently."""
        with self.page() as page:
            playing = Playing(page, player)
            page.goto(f"{self._address}/harness.html?{urlencode({'player': player, 'src': url})}")
            yield playing

    def play(
        self, url: str, player: Player = "dashjs", until: Literal["ended"] | float = "ended", timeout_s: float = 60
    ) -> PlayReport:
        """Play ``url`` to its end, or until ``until`` seconds have been shown, but no longer than ``timeout_s``.

        Errors don't end the playback: a player may recover, and the report has both.
        """
        with self.playing(url, player) as playing:
            return playing.until(lambda r: r.ended or (until != "ended" and r.played_s >= until), timeout_s)


class Playing:
    """A page with a running player."""

    def __init__(self, page: Page, player: Player) -> None:
        self.page, self.player = page, player
        self._begin, self._startup_s = time.monotonic(), 0.0
        self._failed: list[str] = []
        self._thrown: list[str] = []
        page.on("response", lambda r: self._failed.append(f"{r.status} {r.url}") if r.status >= 400 else None)
        page.on("pageerror", lambda error: self._thrown.append(f"page: {error}"))

    def report(self) -> PlayReport | None:
        """What has happened so far; None before the page has loaded its script."""
        state = self.page.evaluate("window.report?.snapshot()")
        if state is None:
            return None
        if state["started"] and not self._startup_s:
            self._startup_s = time.monotonic() - self._begin
        return PlayReport(
            player=self.player,
            errors=(*state["errors"], *self._thrown),
            requests_failed=tuple(self._failed),
            stalls=tuple(Stall(**stall) for stall in state["stalls"]),
            jumps=tuple(state["jumps"]),
            started=state["started"],
            ended=state["ended"],
            timed_out=False,
            position_s=state["position_s"],
            duration_s=state["duration_s"],
            played=tuple((start, end) for start, end in state["played"]),
            frames_decoded=state["frames_decoded"],
            frames_dropped=state["frames_dropped"],
            heights_px=tuple(sorted({quality["height"] for quality in state["qualities"]})),
            startup_s=self._startup_s,
        )

    def until(self, condition: Callable[[PlayReport], bool], timeout_s: float = 60) -> PlayReport:
        """The first report that meets ``condition``, or else the last one, marked as ``timed_out``."""
        end = time.monotonic() + timeout_s
        while True:
            report = self.report()
            if report is not None and condition(report):
                return report
            if time.monotonic() > end:
                assert report is not None, "the harness page did not load its script"
                return replace(report, timed_out=True)
            self.page.wait_for_timeout(200)  # four times as often, asking costs as much as playing


@contextmanager
def open_harness(scratch: Path) -> Iterator[PlayerHarness]:
    """Chromium and a server for the harness pages. ``scratch`` is an empty directory."""
    binary = shutil.which("chromium")
    assert binary, "Chromium is not installed: apt install chromium"
    with (
        MediaServer(scratch, web=HARNESS, port=free_port(), host="127.0.0.1", exposure=ANYWHERE) as server,
        sync_playwright() as playwright,
    ):
        launch = partial(playwright.chromium.launch, executable_path=binary, args=list(CHROMIUM_FLAGS), timeout=60_000)
        harness = PlayerHarness(launch, server.url)
        try:
            yield harness
        finally:
            harness.close()
