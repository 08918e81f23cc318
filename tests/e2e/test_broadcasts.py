"""``streamwave broadcasts`` as a person types it."""

from __future__ import annotations

import re
from pathlib import Path

import av
import pytest

from streamwave.catalog import Output
from tests.support.cli import Cli
from tests.support.media import make_clip
from tests.support.published import CREATED_MS, PATH, packaged, publish

OTHER = "hall/20260102-000000-0001"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    chunks = packaged(folder, make_clip(folder / "a.mp4", frames=50, gop=25))
    black = [chunks[0], chunks[1].model_copy(update={"filled": ("large", "small")})]
    output = Output(str(folder / "out"), {}, folder)
    publish(output, chunks, black, away_ms=12_500)
    publish(output, chunks, path=OTHER, finish=False, created_ms=CREATED_MS + 1000)
    return folder / "out"


@pytest.fixture
def cli(tmp_path: Path, published: Path) -> Cli:
    """The command line; what it finds belongs to this test alone."""
    found = Cli(tmp_path, {"OUTPUT_DIR": str(tmp_path / "out"), "COLUMNS": "160"})
    for path in published.rglob("*"):
        if path.is_file():
            copy = tmp_path / "out" / path.relative_to(published)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    return found


def test_from_the_list_to_nothing(cli: Cli) -> None:
    listed = cli.run("broadcasts", "ls")
    assert listed.code == 0, listed.err
    lines = [re.split(r"\s{2,}", line.strip()) for line in listed.out.splitlines()]
    assert [line[:3] for line in lines[1:]] == [[OTHER, "A stage", "live"], [PATH, "A stage", "recorded"]]

    shown = cli.run("broadcasts", "show", "stage").out
    assert "period p1 from 0:02.0, 0:02.0 long, session 000001 (2 chunks)" in shown
    assert "the publisher was away for 0:12.5" in shown
    assert "chunk 1 at 0:01.0 could not be decoded (large, small)" in shown
    assert f"{cli.folder}/out/{PATH}/master.m3u8" in shown and f"/?src=/media/{PATH}/manifest.mpd" in shown

    # The folder of a broadcast is as good a name as any.
    for name in (PATH, OTHER, str(cli.folder / "out" / PATH)):
        verified = cli.run("broadcasts", "verify", name)
        assert verified.code == 0, verified.out + verified.err
        assert "exists, joins on and decodes" in verified.out
    # Also as it was written for --output of transcode.
    (cli.folder / "talks").mkdir()
    (cli.folder / "out" / OTHER).rename(cli.folder / "talks" / "one")
    assert cli.run("broadcasts", "verify", "talks/one").code == 0
    (cli.folder / "talks" / "one").rename(cli.folder / "out" / OTHER)
    exported = cli.run("broadcasts", "export", "stage")
    assert exported.code == 0 and f"written: {PATH.replace('/', '-')}.mp4, 0:04.0" in exported.out, exported.err
    with av.open(str(cli.folder / f"{PATH.replace('/', '-')}.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 100

    refused = cli.run("broadcasts", "rm", PATH, OTHER, "--yes")
    assert refused.code == 2 and f"{OTHER} is live: end it first; nothing was deleted" in refused.err
    unasked = cli.run("broadcasts", "rm", PATH)
    assert unasked.code == 2 and "say --yes" in unasked.err
    assert (cli.folder / "out" / PATH / "manifest.mpd").exists()
    removed = cli.run("broadcasts", "rm", PATH, "--yes")
    assert removed.code == 0 and f"deleted {PATH}: " in removed.out
    assert not (cli.folder / "out" / "stage").exists()
    assert PATH not in cli.run("broadcasts", "ls").out


def test_a_damaged_one_is_told_and_counted(cli: Cli) -> None:
    (cli.folder / "out" / PATH / "p0/small/25000.m4s").unlink()
    done = cli.run("broadcasts", "verify", PATH)
    assert done.code == 1
    assert done.out.splitlines()[0] == "p0/small/25000.m4s: it is missing"
    assert "small: 75 pictures in 3 segments" in done.out and done.out.splitlines()[-1] == "1 finding"


@pytest.mark.parametrize("name", ["nothing", "/nowhere/at/all", "s3:///x"])
def test_names_of_nothing(cli: Cli, name: str) -> None:
    done = cli.run("broadcasts", "show", name)
    assert done.code in (1, 2) and done.err.startswith("error: ") and len(done.err.splitlines()) == 1, done.err
