"""An installation writes the same objects to S3 as to a disk, and a browser plays them from the S3 endpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamwave.layout import FENCE
from tests.e2e.browser import PlayerHarness
from tests.e2e.media import make_output
from tests.support.cli import Cli
from tests.support.commands import Loaded, loaded
from tests.support.ports import free_port
from tests.support.s3 import S3, s3_server


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    """moto's server over HTTP, with a bucket that is readable for browsers."""
    with s3_server() as endpoint:
        endpoint.bucket("films")
        rule = {"AllowedOrigins": ["*"], "AllowedMethods": ["GET", "HEAD"], "AllowedHeaders": ["*"]}
        endpoint.client().put_bucket_cors(Bucket="films", CORSConfiguration={"CORSRules": [rule]})
        yield endpoint


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, prefect_api: str, s3: S3) -> Path:
    """The output folder of one run, and a second folder and an S3 bucket that another run wrote to."""
    folder = tmp_path_factory.mktemp("both")
    make_output(folder / "alone", folder, prefect_api)
    several = folder / "several"
    make_output(
        f"{several}, s3://films/tv",
        folder,
        prefect_api,
        environment={**s3.environment, "STREAMWAVE_S3_ACL": "public-read"},
    )
    return folder


def files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_s3_equals_the_disk_byte_for_byte(both: Path, s3: S3) -> None:
    alone, several, remote = files(both / "alone"), files(both / "several"), s3.objects("films", "tv")
    for tree in (alone, several, remote):
        tree.pop(FENCE)
    assert several == remote and len(remote) > 15
    # A run with only the folder writes the same, except for the first line of its ledger, which has the start time.
    for tree in (alone, several):
        first, _, rest = tree.pop("ledger/000000.jsonl").partition(b"\n")
        assert json.loads(first)["type"] == "broadcast"
        tree["what was published"] = rest
    assert alone == several


def test_dashjs_plays_from_the_endpoints_address(both: Path, s3: S3, harness: PlayerHarness) -> None:
    report = harness.play(f"{s3.endpoint}/films/tv/manifest.mpd", "dashjs")
    assert report.problems == [] and report.ended
    assert report.duration_s is not None and report.played_s == pytest.approx(report.duration_s, abs=0.3)
    assert report.frames_decoded > 20 * report.duration_s


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    with loaded(Cli(tmp_path_factory.mktemp("program"), {"COLUMNS": "500"}).environment) as found:
        yield found


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"S3_BUCKET": "nowhere"}, "there is no such bucket; check S3_BUCKET"),
        (
            {"S3_BUCKET": "films", "STREAMWAVE_SPOOL_DIR": "s3://nowhere/spool"},
            "there is no such bucket; check STREAMWAVE_SPOOL_DIR",
        ),
        ({"S3_BUCKET": "films", "STREAMWAVE_S3_ENDPOINT": f"http://127.0.0.1:{free_port()}"}, "does not answer"),
    ],
)
def test_what_cannot_be_written_to_is_told_before_anything_starts(
    tmp_path: Path, s3: S3, program: Loaded, environment: dict[str, str], says: str
) -> None:
    cli = Cli(tmp_path, {**s3.environment, "USE_S3": "true", "COLUMNS": "500", **environment}, loaded=program)
    for command in (("transcode", __file__), ("up",), ("doctor",)):
        done = cli.run(*command)
        text = " ".join((done.out + done.err).split())
        if command[0] != "transcode":  # it probes the source first
            assert says in text, (command, text)
        assert done.code != 0
    assert not list((tmp_path / "state").rglob("*.mkv"))
