"""The three players and our own page play packaged output completely, and the harness detects failures."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.media.server import MediaServer
from tests.e2e.browser import Player, PlayerHarness, PlayReport
from tests.e2e.media import SECOND_SEGMENT, make_output
from tests.support.ports import free_port
from tests.support.processes import command_line, descendants

ENTRY: dict[Player, str] = {"dashjs": "manifest.mpd", "hlsjs": "master.m3u8", "shaka": "manifest.mpd"}


@pytest.fixture(scope="module")
def packaged_output(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Path:
    """A file of six seconds, transcoded into two renditions."""
    folder = tmp_path_factory.mktemp("packaged")
    return make_output(folder / "out", folder, prefect_api)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[Path], str]]:
    """Serve a directory of media and the player page, and yield the server's URL."""
    started: list[MediaServer] = []

    def start(root: Path) -> str:
        server = MediaServer(root, port=free_port(), host="127.0.0.1")
        server.start()
        started.append(server)
        return server.url

    yield start
    for server in started:
        server.stop()


@pytest.mark.parametrize("player", ["dashjs", "hlsjs", "shaka"])
def test_plays_from_start_to_end(
    player: Player, harness: PlayerHarness, packaged_output: Path, serve: Callable[[Path], str]
) -> None:
    report = harness.play(f"{serve(packaged_output)}/media/{ENTRY[player]}", player)
    assert report.problems == []
    assert report.ended
    assert report.duration_s is not None
    assert report.position_s == pytest.approx(report.duration_s, abs=0.2)
    assert report.played_s == pytest.approx(report.duration_s, abs=0.3)
    assert len(report.played) == 1
    assert report.frames_decoded > 20 * report.duration_s
    assert report.heights_px == (90, 180)


def test_missing_segment_is_noticed(
    harness: PlayerHarness, packaged_output: Path, serve: Callable[[Path], str], tmp_path: Path
) -> None:
    broken = shutil.copytree(packaged_output, tmp_path / "broken")
    for segment in sorted(broken.glob(SECOND_SEGMENT)):
        segment.unlink()

    def is_noticed(report: PlayReport) -> bool:
        missing = any("404" in failure and "50000.m4s" in failure for failure in report.requests_failed)
        return missing and bool(report.errors or report.stalls or report.jumps)

    with harness.playing(f"{serve(broken)}/media/manifest.mpd", "dashjs") as playing:
        report = playing.until(is_noticed)
    assert is_noticed(report), report


@pytest.mark.parametrize("player", ["dashjs", "hlsjs", "shaka"])
def test_corrupt_segment_is_noticed(
    player: Player, harness: PlayerHarness, packaged_output: Path, serve: Callable[[Path], str], tmp_path: Path
) -> None:
    broken = shutil.copytree(packaged_output, tmp_path / "broken")
    for segment in sorted(broken.glob(SECOND_SEGMENT)):
        segment.write_bytes(b"\xff" * segment.stat().st_size)
    with harness.playing(f"{serve(broken)}/media/{ENTRY[player]}", player) as playing:
        report = playing.until(lambda report: bool(report.errors or report.stalls or report.jumps))
    assert report.requests_failed == ()
    assert report.errors or report.stalls or report.jumps


def test_a_browser_that_is_late_with_its_pictures_comes_to_the_end(
    harness: PlayerHarness, packaged_output: Path, serve: Callable[[Path], str]
) -> None:
    """dash.js polls the position five times a second, and ends playback at the manifest's stated end."""
    with harness.playing(f"{serve(packaged_output)}/media/manifest.mpd", "dashjs") as playing:
        playing.until(lambda report: report.duration_s is not None and report.position_s > report.duration_s - 0.4)
        drawing = [pid for pid in descendants(os.getpid()) if "--type=gpu-process" in " ".join(command_line(pid))]
        assert drawing
        for pid in drawing:
            os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(2)
        finally:
            for pid in drawing:
                os.kill(pid, signal.SIGCONT)
        report = playing.until(lambda report: report.ended, timeout_s=60)
    assert report.ended, report
    assert report.duration_s is not None and abs(report.position_s - report.duration_s) < 0.1


def test_end_of_playing_by_position(
    harness: PlayerHarness, packaged_output: Path, serve: Callable[[Path], str]
) -> None:
    report = harness.play(f"{serve(packaged_output)}/media/manifest.mpd", "dashjs", until=1)
    assert report.problems == []
    assert not report.ended
    assert report.played_s >= 1
