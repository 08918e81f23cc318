"""Flow runs whose spool is in a bucket, on machines that share no disk with the one that receives; and what dies there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streamwave.config.settings import Settings
from streamwave.receive.launch import start_segmenter
from streamwave.spool.broadcast import BroadcastSpool, broadcasts
from streamwave.spool.journal import ChunkLine, JournalReader, end_of, writer_alive
from streamwave.spool.remote.exchange import CLEARED
from tests.support.by_hand import SETTINGS, by_hand, chunks, on_air, served
from tests.support.cli import LADDER, Cli
from tests.support.live import is_static, periods, picture_numbers
from tests.support.media import Clip, make_clip
from tests.support.processes import marked, wait_for
from tests.support.s3 import KEYS, S3, s3_server
from tests.support.stored_spool import looked_after, new_session

RUN = "import sys; from flows.live_stream import live_stream; live_stream(broadcast_spool=sys.argv[1])"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return make_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", frames=1500, gop=25, options=("-bf", "0"))


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server() as endpoint:
        endpoint.bucket("spool")
        yield endpoint


@pytest.fixture
def receiver(tmp_path: Path, s3: S3, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The machine that receives: this process."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS["key"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS["secret"])
    return Settings.load(
        env_file=None, state_dir=tmp_path / "receiver", spool_place=f"s3://spool/{tmp_path.name}",
        s3_endpoint=s3.endpoint, s3_region="us-east-1", s3_path_style=True, output_dir=str(tmp_path / "out"),
        ladder=json.dumps(LADDER),
    )  # fmt: skip


@contextmanager
def run(cli: Cli, s3: S3, url: str) -> Iterator[None]:
    """A flow run on another machine; it is killed at the end."""
    cli.extra |= SETTINGS | s3.environment | {"STREAMWAVE_SPOOL_DIR": url.rsplit("/", 2)[0]}
    log = cli.folder / "run.log"
    with (
        log.open("a") as terminal,
        cli.start("-c", RUN, url, program="python", terminal=terminal.fileno()) as process,
    ):
        yield
    assert process.returncode in (0, -9), log.read_text()[-3000:]


def received(session: Path) -> int:
    """Pictures that its journal tells of."""
    return sum(line.chunk.pictures for line in JournalReader(session).read() if isinstance(line, ChunkLine))


def test_neither_a_run_that_is_killed_nor_a_segmenter_costs_a_picture(
    cli: Cli, receiver: Settings, s3: S3, clip: Clip
) -> None:
    with served(clip, loop=True) as source:
        spool, options = new_session(receiver, source, live=True)
        url = spool.info().spool
        with looked_after(spool, receiver):
            segmenter = start_segmenter(options)
            with run(cli, s3, url):
                wait_for(lambda: chunks(spool) >= 3 and spool.run_alive(), "three chunks of the first run")
            first = spool.status()["flow_run_id"]
            wait_for(lambda: not spool.run_alive(), "the receiver to notice that the run is dead")
            before = chunks(spool)
            with run(cli, s3, url):
                wait_for(lambda: chunks(spool) >= before + 2, "the second run to go on")
                assert spool.status()["flow_run_id"] != first
                segmenter.kill()
                segmenter.wait(60)
                end = wait_for(lambda: end_of(options.spool), "the end of what it received")
                assert end is not None and end.reason == "segmenter died"
                count = received(options.spool)
                wait_for(lambda: (spool.folder / CLEARED).exists(), "the recording")
    root = Path(spool.info().output)
    assert is_static(root)
    (period,) = periods(root)
    assert picture_numbers(period, clip.rate) == [number % clip.frames for number in range(count)]
    assert count >= 5 * clip.gop
    status = spool.status()
    assert (status["state"], status["lag_ms"]) == ("finished", 0)
    assert s3.objects("spool", receiver.state_dir.parent.name) == {}
    assert list((cli.state / "replica").iterdir()) == [] and not (cli.state / "spool").exists()


def test_a_run_by_hand_that_is_killed_is_completed_by_the_next(cli: Cli, s3: S3, clip: Clip) -> None:
    prefix = cli.folder.name
    cli.extra |= {**s3.environment, "STREAMWAVE_SPOOL_DIR": f"s3://spool/{prefix}"}
    with by_hand(cli, served(clip, loop=True)) as process:
        first = on_air(cli)
        wait_for(lambda: chunks(first) >= 3, "three chunks")
        process.kill()
        process.wait(60)
    (session,) = first.sessions()
    wait_for(lambda: marked(cli.mark) == {} and not writer_alive(session), "the end of what it had started")
    assert not first.finished
    count = received(session)
    with by_hand(cli, served(clip, loop=True)) as process:
        wait_for(lambda: first.finished, "the first recording")
        wait_for(lambda: len(broadcasts(cli.state / "spool", "show")) == 2, "the next broadcast")
        second = broadcasts(cli.state / "spool", "show")[1]
        wait_for(lambda: chunks(second) >= 1, "its first chunk")
        process.terminate()
        _said, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    for spool in (first, second):
        root = Path(BroadcastSpool(spool.folder).info().output)
        assert is_static(root)
        (period,) = periods(root)
        numbers = picture_numbers(period, clip.rate)
        assert numbers == [number % clip.frames for number in range(len(numbers))]
        assert len(numbers) >= (count if spool is first else clip.gop)
    assert s3.objects("spool", prefix) == {} and marked(cli.mark) == {}
