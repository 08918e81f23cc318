"""``streamwave broadcasts`` as a user types it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest
from typer.testing import CliRunner

from streamwave.broadcasts.catalog import Output
from streamwave.cli.app import app
from streamwave.manifest.packaged import PackagedChunk
from tests.support.cli import Cli
from tests.support.commands import Loaded, loaded
from tests.support.faults import Weather, proxy
from tests.support.media import make_clip
from tests.support.ports import free_port
from tests.support.published import CREATED_MS, PATH, packaged, publish
from tests.support.s3 import s3_server

OTHER = "hall/20260102-000000-0001"


@pytest.fixture(scope="module")
def chunks(tmp_path_factory: pytest.TempPathFactory) -> list[PackagedChunk]:
    folder = tmp_path_factory.mktemp("chunks")
    return packaged(folder, make_clip(folder / "a.mp4", frames=50, gop=25))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, chunks: list[PackagedChunk]) -> Path:
    folder = tmp_path_factory.mktemp("published")
    black = [chunks[0], chunks[1].model_copy(update={"filled": ("large", "small")})]
    output = Output(str(folder / "out"), {}, folder)
    publish(output, chunks, black, away_ms=12_500)
    publish(output, chunks, path=OTHER, finish=False, created_ms=CREATED_MS + 1000)
    return folder / "out"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    with loaded(Cli(tmp_path_factory.mktemp("program"), {"COLUMNS": "160"}).environment) as found:
        yield found


@pytest.fixture
def cli(tmp_path: Path, published: Path, program: Loaded) -> Cli:
    """The command line, with outputs that belong to this test alone."""
    found = Cli(tmp_path, {"OUTPUT_DIR": str(tmp_path / "out"), "COLUMNS": "160"}, loaded=program)
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
    assert "nothing was received for 0:12.5" in shown
    assert "chunk 1 at 0:01.0 could not be decoded (large, small)" in shown
    assert f"{cli.folder}/out/{PATH}/master.m3u8" in shown and f"/?src=/media/{PATH}/manifest.mpd" in shown

    # A broadcast can also be named by its folder.
    for name in (PATH, OTHER, str(cli.folder / "out" / PATH)):
        verified = cli.run("broadcasts", "verify", name)
        assert verified.code == 0, verified.out + verified.err
        assert "exist, are contiguous and decode" in verified.out
    # Also in the form that transcode --output accepts.
    (cli.folder / "talks").mkdir()
    (cli.folder / "out" / OTHER).rename(cli.folder / "talks" / "one")
    assert cli.run("broadcasts", "verify", "talks/one").code == 0
    (cli.folder / "talks" / "one").rename(cli.folder / "out" / OTHER)
    refused = cli.run("broadcasts", "export", "stage", "--to", "s3://bucket/stage.mp4")
    assert refused.code == 2 and "is an address, but export writes local files" in refused.err, refused.err
    exported = cli.run("broadcasts", "export", "stage")
    assert exported.code == 0 and f"written: {PATH.replace('/', '-')}.mp4, 0:04.0" in exported.out, exported.err
    with av.open(str(cli.folder / f"{PATH.replace('/', '-')}.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 100

    refused = cli.run("broadcasts", "rm", PATH, OTHER, "--yes")
    assert refused.code == 2 and f"{OTHER} is live: end it first (" in refused.err
    unasked = cli.run("broadcasts", "rm", PATH)
    assert unasked.code == 2 and "give --yes" in unasked.err
    assert (cli.folder / "out" / PATH / "manifest.mpd").exists()
    removed = cli.run("broadcasts", "rm", PATH, "--yes")
    assert removed.code == 0 and f"deleted {PATH}: " in removed.out
    assert not (cli.folder / "out" / "stage").exists()
    assert PATH not in cli.run("broadcasts", "ls").out


@pytest.mark.parametrize(
    ("keep", "ended", "listed", "said", "period"),
    [
        (True, False, "0:01.0 of 0:02.0", "0:01.0 available of 0:02.0", "from 0:01.0, 0:01.0 long"),
        (False, False, "0:01.0 of 0:02.0", "0:01.0 available of 0:02.0", "from 0:01.0, 0:01.0 long"),
        (True, True, "0:02.0", "0:02.0", "from 0:00.0, 0:02.0 long"),
        (False, True, "0:01.0", "0:01.0", "from 0:00.0, 0:01.0 long"),
    ],
    ids=["live", "live, nothing kept", "recorded", "recorded, only the window kept"],
)
def test_the_length_is_what_can_be_watched(
    tmp_path: Path,
    chunks: list[PackagedChunk],
    program: Loaded,
    keep: bool,
    ended: bool,
    listed: str,
    said: str,
    period: str,
) -> None:
    publish(Output(str(tmp_path / "out"), {}, tmp_path), chunks, finish=ended, dvr_window_ms=1000, keep=keep)
    cli = Cli(tmp_path, {"OUTPUT_DIR": str(tmp_path / "out"), "COLUMNS": "160"}, loaded=program)
    (_, row) = cli.run("broadcasts", "ls").out.splitlines()
    assert re.split(r"\s{2,}", row)[4] == listed
    shown = cli.run("broadcasts", "show", PATH).out
    assert re.findall(r"length +(.*)", shown) == [said] and f"period p0 {period}," in shown


def test_what_the_ledger_tells_in_short_is_shown_too(
    tmp_path: Path, chunks: list[PackagedChunk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rolling ledger of a channel no longer has the line of the first period, but its summary is shown."""
    monkeypatch.setattr("streamwave.manifest.parts.PART_CHUNKS", 1)
    publish(Output(str(tmp_path / "out"), {}, tmp_path), chunks, finish=False, dvr_window_ms=1000, keep=False)
    shown = Cli(tmp_path, {"OUTPUT_DIR": str(tmp_path / "out"), "COLUMNS": "160"}).run("broadcasts", "show", PATH).out
    assert "session 000000 (2 chunks)" in shown


def test_a_damaged_one_is_told_and_counted(cli: Cli) -> None:
    cli = replace(cli, loaded=None)  # the program as it is installed
    (cli.folder / "out" / PATH / "p0/small/25000.m4s").unlink()
    done = cli.run("broadcasts", "verify", PATH)
    assert done.code == 1
    assert done.out.splitlines()[0] == "p0/small/25000.m4s: missing"
    assert "small: 75 frames in 3 segments" in done.out and done.out.splitlines()[-1] == "1 finding"


@pytest.mark.parametrize("name", ["nothing", "/nowhere/at/all", "s3:///x"])
def test_names_of_nothing(cli: Cli, name: str) -> None:
    done = cli.run("broadcasts", "show", name)
    assert done.code in (1, 2) and done.err.startswith("error: ") and len(done.err.splitlines()) == 1, done.err


def test_a_dead_output_keeps_nobody_from_the_others(cli: Cli, tmp_path: Path) -> None:
    """If one of two outputs does not answer, the other can still be listed, cleaned and deleted from."""
    first, second = tmp_path / "out", tmp_path / "second"
    shutil.copytree(first, second)
    # The first output was incomplete when the broadcast ended.
    for name in ("broadcast.json", "manifest.mpd"):
        (first / PATH / name).unlink()
    ledger = first / PATH / "ledger" / "000000.jsonl"
    ledger.write_text("".join(ledger.read_text().splitlines(keepends=True)[:-1]))
    half_deleted = json.dumps({"state": "deleted", "started_unix_ms": 1})
    for root in (first, second):
        (root / "stage" / "old").mkdir()
        (root / "stage" / "old" / "broadcast.json").write_text(half_deleted)
    address = f"http://127.0.0.1:{free_port()}"
    s3 = {"STREAMWAVE_S3_ENDPOINT": address, "S3_REGION": "x", "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
    dead = Cli(
        tmp_path, {**cli.environment, **s3, "OUTPUT_DIR": f"s3://films/tv, {first}, {second}"}, loaded=cli.loaded
    )
    says = "s3://films/tv cannot be read (the endpoint does not answer; check STREAMWAVE_S3_ENDPOINT and the network)"

    listed = dead.run("broadcasts", "ls")
    assert listed.code == 1 and f"{says}; its broadcasts are not listed" in listed.err
    lines = [re.split(r"\s{2,}", line.strip()) for line in listed.out.splitlines()]
    assert [(line[0], line[2], line[-1]) for line in lines[1:3]] == [
        (OTHER, "live", "2 of 3"), (PATH, "recorded", "2 of 3"),
    ]  # fmt: skip
    verified = dead.run("broadcasts", "verify", PATH, "--no-decode")
    assert verified.code == 1 and f"{says}; its copy has not been checked" in verified.err
    assert verified.out.splitlines()[0] == f"at {second}:" and "all segments exist and are contiguous" in verified.out
    assert verified.out.count("finding") == 1 and f"at {first}:" in verified.out
    whole = dead.run("broadcasts", "verify", PATH, "--no-decode", "-o", str(second))
    assert whole.code == 0 and whole.out.splitlines()[-1] == "all segments exist and are contiguous"

    cleaned = dead.run("broadcasts", "clean")
    assert cleaned.code == 1 and f"{says}; nothing was cleaned there" in cleaned.err
    assert cleaned.out.count("removed stage/old: its deletion was interrupted") == 2
    for place in ("out", "second"):
        assert f"{place}: removed stage/old: its deletion was interrupted" in cleaned.out
    assert not (first / "stage" / "old").exists() and not (second / "stage" / "old").exists()

    removed = dead.run("broadcasts", "rm", PATH, "--yes")
    assert removed.code == 1 and f"{says}; its copy has not been deleted: run this again when" in removed.err
    assert not (first / "stage").exists() and not (second / "stage").exists()
    missing = dead.run("broadcasts", "rm", PATH, "--yes")
    assert missing.code == 2 and "was found, but not every output could be read: s3://films/tv" in missing.err


def test_a_copy_without_any_manifest_keeps_nobody_from_checking_the_others(cli: Cli, tmp_path: Path) -> None:
    first, second = tmp_path / "out", tmp_path / "second"
    shutil.copytree(first, second)
    for name in [*(first / PATH).glob("*.mpd"), *(first / PATH).glob("*.m3u8")]:
        name.unlink()
    both = Cli(tmp_path, {**cli.environment, "OUTPUT_DIR": f"{first}, {second}"}, loaded=cli.loaded)
    verified = both.run("broadcasts", "verify", PATH, "--no-decode")
    assert verified.code == 1 and f"{first / PATH} has no manifest" in verified.err
    assert verified.out.splitlines()[:1] == [f"at {first}:"] and f"at {second}:" in verified.out
    assert verified.out.splitlines()[-1] == "all segments exist and are contiguous"


def test_an_output_without_a_copy_is_named(cli: Cli, tmp_path: Path) -> None:
    (empty := tmp_path / "out2").mkdir()
    both = Cli(tmp_path, {**cli.environment, "OUTPUT_DIR": f"{tmp_path / 'out'}, {empty}"}, loaded=cli.loaded)
    verified = both.run("broadcasts", "verify", PATH, "--no-decode")
    assert verified.code == 0 and verified.out.splitlines()[-1] == f"at {empty}: there is no copy"
    alone = cli.run("broadcasts", "verify", PATH, "--no-decode")
    assert alone.code == 0 and "there is no copy" not in alone.out


def test_what_a_removal_left_at_another_output_is_found_by_the_next(cli: Cli, tmp_path: Path) -> None:
    with s3_server() as s3:
        bucket = s3.bucket("films")
        for path in (tmp_path / "out").rglob("*"):
            if path.is_file():
                key = f"tv/{path.relative_to(tmp_path / 'out').as_posix()}"
                s3.client().put_object(Bucket="films", Key=key, Body=path.read_bytes())
        weather = Weather()
        with proxy(s3.endpoint, weather) as through:
            environment = {**s3.environment, "STREAMWAVE_S3_ENDPOINT": through}
            places = f"{tmp_path / 'out'}, {bucket}/tv"
            both = Cli(tmp_path, {**cli.environment, **environment, "OUTPUT_DIR": places}, loaded=cli.loaded)
            weather.faults, weather.share = ("reset",), 1.0
            assert both.run("broadcasts", "rm", PATH, "--yes").code == 1
            weather.share = 0.0
            assert not (tmp_path / "out" / "stage").exists() and f"tv/{PATH}/manifest.mpd" in s3.objects("films")
            again = both.run("broadcasts", "rm", PATH, "--yes")
            assert again.code == 0 and f"deleted {PATH}: " in again.out, again.err
            assert not [name for name in s3.objects("films") if PATH in name and "broadcasts.json" not in name]


def test_one_that_lies_in_the_root_of_a_bucket_or_has_an_unusual_name(cli: Cli, published: Path) -> None:
    """Addresses as ``transcode --output`` accepts them: relative to the endpoint in the settings, with any folder name."""
    with s3_server() as s3:
        at_s3 = Cli(cli.folder, {**cli.environment, **s3.environment}, loaded=cli.loaded)
        for bucket, folder in (("whole", ""), ("films", "\u00dc b #1 %41+x")):
            address = f"{s3.bucket(bucket)}/{folder}"
            for path in (published / PATH).rglob("*"):
                if path.is_file():
                    key = f"{folder}/{path.relative_to(published / PATH).as_posix()}".lstrip("/")
                    s3.client().put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
            for names in ([address], [address.rstrip("/")], [".", "--output", address]):
                done = at_s3.run("broadcasts", "verify", "--no-decode", *names)
                assert done.code == 0, (names, done.out, done.err)
            assert at_s3.run("broadcasts", "rm", "--yes", address).code == 0
            assert not s3.objects(bucket)
    moved = cli.folder / "out" / "\u00dc b #1 %41+x"
    (cli.folder / "out" / PATH).rename(moved)
    assert cli.run("broadcasts", "rm", "--yes", str(moved)).code == 0
    assert not any(moved.iterdir())


def test_a_recording_as_json(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(cli.folder)
    for name in ("OUTPUT_DIR", "STREAMWAVE_STATE_DIR"):
        monkeypatch.setenv(name, cli.environment[name])

    def document(*arguments: str, code: int = 0) -> Any:
        done = CliRunner().invoke(app, ["broadcasts", *arguments, "--json"])
        assert done.exit_code == code, done.output
        return json.loads(done.stdout)

    assert [one["name"] for one in document("ls")["broadcasts"]] == [OTHER, PATH]
    shown = document("show", PATH)
    assert [period["name"] for period in shown["periods"]] == ["p0", "p1"]
    assert [period["gap_after_ms"] for period in shown["periods"]] == [12_500, 0]
    assert shown["periods"][1]["filler"] == [{"chunk": 1, "renditions": ["large", "small"], "at_ms": 1000}]
    verified = document("verify", PATH)
    assert verified["ok"] and {one["samples"] for one in verified["copies"][0]["renditions"][:2]} == {100}
    (file,) = document("export", PATH, "--to", "a.mp4")["files"]
    assert file["path"] == "a.mp4" and file["size_bytes"] == (cli.folder / "a.mp4").stat().st_size
    next((cli.folder / "out" / PATH).rglob("*.m4s")).unlink()
    broken = document("verify", PATH, code=1)
    assert not broken["ok"] and broken["copies"][0]["findings"]
