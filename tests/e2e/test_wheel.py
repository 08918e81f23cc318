"""The wheel works when installed into an empty environment outside of the checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.browser import PlayerHarness
from tests.support.cli import ROOT, Cli, copy_database
from tests.support.live import Installation
from tests.support.media import make_clip
from tests.support.player import decode_pictures, representations
from tests.support.processes import marked, wait_for

PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of the new environment."""
    folder = tmp_path_factory.mktemp("wheel")

    def run(*command: str, cwd: Path = folder) -> None:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=280, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    # Build from a copy, because builds leave folders behind and would interfere with each other.
    source = folder / "source"
    ignored = shutil.ignore_patterns(".venv", ".git", "var", "out", "tests", "*.egg-info", ".*_cache", ".hypothesis")
    shutil.copytree(ROOT, source, symlinks=True, ignore=ignored)
    run(*PIP, "wheel", "--no-deps", "--wheel-dir", str(folder / "dist"), str(source))
    shutil.rmtree(source)
    (wheel,) = (folder / "dist").glob("streamwave-*.whl")
    # Without pip in the environment, because installing that takes longer than everything else.
    run(sys.executable, "-m", "venv", "--without-pip", str(folder / "venv"))
    python = folder / "venv" / "bin" / "python"
    run(*PIP, "--python", str(python), "install", "-c", str(ROOT / "constraints.txt"), str(wheel))
    return python.parent


@pytest.fixture(scope="module")
def installation(
    tmp_path_factory: pytest.TempPathFactory, prefect_home: Path, programs: Path
) -> Iterator[Installation]:
    found = Installation(tmp_path_factory.mktemp("installation"), prefect_home)
    found.cli.programs = programs
    try:
        yield found
    finally:
        found.close()


def test_a_file_is_transcoded(tmp_path: Path, prefect_home: Path, programs: Path) -> None:
    cli = Cli(tmp_path, programs=programs)
    copy_database(prefect_home, cli.state / "prefect")  # otherwise it creates one, which takes long
    clip = make_clip(tmp_path / "clip.mp4", frames=75)
    done = cli.run("transcode", clip.path.name, "-o", "out/clip")
    assert done.code == 0, done.err
    for rendition in representations(tmp_path / "out" / "clip").values():
        if rendition.kind == "video":
            numbers = [picture.number for picture in decode_pictures(rendition.data, rendition.timescale)]
            assert numbers == list(range(clip.frames))
    assert marked(cli.mark) == {}


def test_a_stream_is_published_and_watched(
    installation: Installation, tmp_path_factory: pytest.TempPathFactory, harness: PlayerHarness
) -> None:
    installation.start()
    clip = make_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", frames=125)
    installation.publish_whole(clip, installation.add_stream("stage"))
    spool = installation.broadcast("stage")
    root = installation.finished(spool)
    assert {argv.split()[0] for argv in installation.processes("-m services").values()} == {
        str(installation.cli.programs / "python")
    }
    address = f"http://127.0.0.1:{installation.settings.media_port}"
    with harness.page() as page:
        for manifest in ("manifest.mpd", "master.m3u8"):
            page.goto(f"{address}/?src=/media/stage/{root.name}/{manifest}")
            expect(page.locator("#quality option")).to_have_count(3, timeout=60_000)
            # The page's CSP forbids Playwright's wait_for_function.
            wait_for(
                partial(page.evaluate, "document.querySelector('video').currentTime > 1"), f"{manifest} to play", 120
            )


def test_its_deployments_are_deployed(installation: Installation) -> None:
    """`prefect deploy` works in an empty folder; runs of the deployments are tested elsewhere."""
    done = installation.cli.run("prefect", "deploy")
    assert done.code == 0, done.out + done.err
    assert "'vod/vod' successfully created" in done.out and "'live-stream/live' successfully" in done.out
