"""The spool in a store: what it promises is what a folder promises, for runs that share no disk with the receiver."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from streamwave.broadcasts.catalog import outputs
from streamwave.config.settings import Settings
from streamwave.errors import FencedError, SettingsError, SpoolError
from streamwave.layout import ENTRY, FENCE
from streamwave.pipeline.live import LiveBroadcast
from streamwave.publish.queue import QUEUE_CHUNKS
from streamwave.receive.launch import start_segmenter, stop_segmenter
from streamwave.receive.segmenter import Segmenter
from streamwave.retention import janitor
from streamwave.spool.broadcast import BroadcastSpool, open_session
from streamwave.spool.info import write_info
from streamwave.spool.journal import received_ms
from streamwave.spool.options import Options
from streamwave.spool.remote.exchange import CLEARED, Exchange
from streamwave.spool.remote.objects import check_spool, open_spool
from streamwave.spool.remote.replica import Replica, replica
from tests.support.by_hand import served
from tests.support.cli import LADDER
from tests.support.faults import Weather, proxy
from tests.support.live import is_static, periods, picture_numbers
from tests.support.live_publishing import publish
from tests.support.media import Clip, make_clip
from tests.support.processes import wait_for
from tests.support.s3 import KEYS, S3
from tests.support.stored_spool import looked_after, media, new_session

CHUNKS = 6
OUTAGE_S = 10

Machine = Callable[..., Settings]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=25 * CHUNKS, gop=25, size="160x90")


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS["key"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS["secret"])


@pytest.fixture
def machine(tmp_path: Path, s3: S3) -> Machine:
    """Settings of a machine of the given name, with a disk of its own and its spool in a bucket."""
    s3.bucket("spool")

    def make(name: str, **changes: object) -> Settings:
        values = {
            "state_dir": tmp_path / name, "spool_place": f"s3://spool/{tmp_path.name}", "s3_endpoint": s3.endpoint,
            "s3_region": "us-east-1", "s3_path_style": True, "output_dir": str(tmp_path / "out"), "segment_seconds": 1,
            "ladder": json.dumps(LADDER), "preset": "ultrafast", "encoder_threads": 1,
        }  # fmt: skip
        return Settings.load(env_file=None, **{**values, **changes})

    return make


@pytest.fixture
def received(machine: Machine, clip: Clip, tmp_path: Path) -> tuple[BroadcastSpool, BroadcastSpool]:
    """One broadcast twice, with the same journal: in a folder, and on a machine whose spool is in the bucket."""
    receiver = machine("receiver")
    local, session = open_session(tmp_path / "local", "show", output=str(tmp_path / "expected"), window_ms=0)
    Segmenter(Options(source=f"file:{clip.path}", spool=session, segment_ms=1000)).run()
    spool = BroadcastSpool(receiver.spool_dir / "show" / local.broadcast)
    shutil.copytree(local.folder, spool.folder)
    url = f"{receiver.spool_url}/show/{local.broadcast}"
    write_info(spool.folder, local.info().model_copy(update={"spool": url, "output": str(tmp_path / "got")}))
    return local, spool


def published(spool: BroadcastSpool) -> dict[str, bytes]:
    """What players get, and the ledger; without the wall clock at which the run wrote it."""
    root = Path(spool.info().output)
    found = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    kept = {name: data for name, data in found.items() if name not in (FENCE, ENTRY)}
    return {name: re.sub(rb'publishTime="[^"]*"', b"", data) for name, data in kept.items()}


@contextmanager
def ended(segmenters: Sequence[Popen[bytes]], weather: Weather) -> Iterator[None]:
    """Whatever becomes of the test, nothing is received afterwards, and nobody waits for a store that refuses."""
    try:
        yield
    finally:
        weather.share = 0.0
        for segmenter in segmenters:
            stop_segmenter(segmenter, graceful=True)


def test_a_run_that_shares_no_disk_publishes_what_one_with_a_folder_does(
    machine: Machine, received: tuple[BroadcastSpool, BroadcastSpool], tmp_path: Path, s3: S3
) -> None:
    local, spool = received
    receiver, runner = machine("receiver"), machine("runner")
    with LiveBroadcast(local, runner, "expected") as broadcast:
        assert publish(broadcast, broadcast.chunks()) == CHUNKS
        broadcast.finish()
    with looked_after(spool, receiver), replica(spool.info().spool, runner, queued=QUEUE_CHUNKS) as seen:
        with LiveBroadcast(seen, runner, "run") as broadcast:
            wait_for(spool.run_alive, "the receiver to see the run")
            assert publish(broadcast, broadcast.chunks()) == CHUNKS
            wait_for(lambda: spool.status().get("chunks") == CHUNKS, "the status")
            chunks = (".mkv", ".aac")
            wait_for(
                lambda: not [name for name in s3.objects("spool", tmp_path.name) if name.endswith(chunks)],
                "the objects of published chunks to go",
                120,
            )
            assert not [path for path in spool.folder.rglob("*") if path.suffix in chunks]
            broadcast.finish()
        wait_for(lambda: (spool.folder / CLEARED).exists(), "the receiver to clear up")
    assert published(spool) == published(local)
    assert spool.finished and spool.status()["state"] == "finished" and spool.sessions() == []
    assert s3.objects("spool", tmp_path.name) == {}
    assert list((runner.state_dir / "replica").iterdir()) == []


def test_a_store_that_refuses_in_mid_stream_costs_nothing(
    machine: Machine, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, s3: S3
) -> None:
    """A live stream, received twice at the same time: into a folder, and by way of the bucket. Both give the same."""
    clip = make_clip(tmp_path_factory.mktemp("live") / "clip.mp4", frames=25 * 16, gop=25, options=("-bf", "0"))
    weather = Weather(faults=("503",))
    with proxy(s3.endpoint, weather) as through, served(clip) as one, served(clip) as other:
        receiver, runner = machine("receiver", s3_endpoint=through), machine("runner", s3_endpoint=through)
        alone = machine("alone", spool_place=str(tmp_path / "alone"), output_dir=str(tmp_path / "expected"))
        (spool, options), (local, plain) = new_session(receiver, one, live=True), new_session(alone, other, live=True)
        segmenters: list[Popen[bytes]] = []
        with (
            ThreadPoolExecutor(1) as pool,
            looked_after(spool, receiver),
            replica(spool.info().spool, runner, queued=QUEUE_CHUNKS) as seen,
            LiveBroadcast(seen, runner, "run") as broadcast,
            ended(segmenters, weather),
        ):
            # The run first: however long it takes to begin, it is early in the stream that the store begins to refuse.
            count = pool.submit(publish, broadcast, broadcast.chunks())
            wait_for(lambda: spool.status().get("flow_run_id"), "the receiver to see the run")
            segmenters += [start_segmenter(options), start_segmenter(plain)]
            wait_for(lambda: received_ms(options.spool) >= 2000, "two chunks")
            weather.share, end = 1.0, time.monotonic() + OUTAGE_S
            # On a busy machine, the receiver is late.
            wait_for(
                lambda: time.monotonic() >= end and len(list(options.spool.glob("[0-9]*.mkv"))) >= OUTAGE_S - 3,
                "what is received to wait on the disk of the receiver",
            )

            def is_told() -> bool:
                told: dict[str, Any] = spool.status()
                return told["lag_ms"] >= 1000 * (OUTAGE_S - 4) and any(
                    "the spool s3://spool/" in str(warning) for warning in told["warnings"]
                )

            wait_for(is_told, "the status to say so")
            weather.share = 0.0
            total = count.result(120)
            broadcast.finish()
            wait_for(lambda: (spool.folder / CLEARED).exists(), "the receiver to clear up")
    with LiveBroadcast(local, alone, "alone") as broadcast:
        assert publish(broadcast, broadcast.chunks()) == total
        broadcast.finish()
    root = Path(spool.info().output)
    assert is_static(root)
    (period,) = periods(root)
    assert picture_numbers(period, clip.rate) == list(range(clip.frames))
    assert media(root) == media(Path(local.info().output)) and len(media(root)) > 3 * total


def test_one_run_at_a_time_and_it_ends_by_itself_what_its_receiver_has_left(
    machine: Machine, received: tuple[BroadcastSpool, BroadcastSpool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _local, spool = received
    receiver, runner = machine("receiver"), machine("runner")
    url = spool.info().spool
    exchange = Exchange(spool, receiver.spool_options)
    store = open_spool(url, runner.spool_options)

    def stored() -> bool:
        exchange.look()
        return store.exists(f"000000/journal/{CHUNKS + 1:06d}.json") and store.exists("closed")

    wait_for(stored, "everything to be stored")
    exchange.close()
    store.delete("closed")  # as if it had been lost before

    def make(name: str) -> Replica:
        found = Replica(tmp_path / name / "show" / spool.broadcast, store, lost_s=2.0)
        found.pull()
        return found

    first, second = make("first"), make("second")
    monkeypatch.setattr("streamwave.spool.remote.lease.TAKEOVER_S", 60.0)  # the first heartbeat may be late
    try:
        with LiveBroadcast(first, runner, "first") as broadcast:
            assert publish(broadcast, broadcast.chunks(), 2) == 2
            with (
                pytest.raises(SpoolError, match="another run publishes show/"),
                LiveBroadcast(second, runner, "second"),
            ):
                pass
            # It stands still, as a process does that is not given the processor: the other one takes over.
            lease, fetcher = first._lease, first._fetcher
            assert fetcher is not None
            lease.stop()
            monkeypatch.setattr("streamwave.spool.remote.lease.TAKEOVER_S", 3.0)
            with LiveBroadcast(second, runner, "second") as following:
                assert publish(following, following.chunks()) == CHUNKS - 2
                following.finish()
            lease.keep(fetcher, first.status)
            wait_for(lambda: lease.replaced, "the first run to notice")
            with pytest.raises(FencedError):
                list(broadcast.chunks())
    finally:
        first.close()
        second.close()
    assert len(media(Path(spool.info().output))) == 2 * (1 + CHUNKS)
    # Nobody is left to clear up but a janitor, who leaves alone what may still be in use.
    place, (output, *_) = janitor.SpoolPlace.of(runner), outputs(runner)
    now_ms = time.time_ns() // 1_000_000
    assert janitor.clean(output, days=0, now_unix_ms=now_ms, spool=place) == []
    (outcome,) = janitor.clean(output, days=0, now_unix_ms=now_ms + 2 * 3_600_000, spool=place)
    assert (outcome.what, outcome.trouble) == (url, None)
    assert store.names() == []
    # What is finished on the receiving machine leaves nothing in the bucket, even if that could not be reached then.
    spool.close()
    spool.mark_finished()
    store.put("000000/000000.mkv", b"x")
    places = outputs(receiver)
    done = janitor.clean(*places, days=0, now_unix_ms=now_ms, spool=janitor.SpoolPlace.of(receiver))
    assert url in [one.what for one in done if one.trouble is None]
    assert store.names() == [] and (spool.folder / CLEARED).exists()


def test_what_is_wrong_with_the_place_is_said_in_a_sentence(machine: Machine, s3: S3) -> None:
    settings = machine("receiver", spool_place="s3://nowhere/x")
    with pytest.raises(SpoolError, match="spool s3://nowhere/x cannot be .*there is no such bucket; check STREAM"):
        check_spool(settings.spool_url, settings.spool_options)
    with pytest.raises(SettingsError, match="STREAMWAVE_SPOOL_DIR is 'foo://x/y': unknown kind of store 'foo'"):
        machine("receiver", spool_place="foo://x/y")
    with pytest.raises(SpoolError, match="there is no broadcast at s3://spool/none/none; check the address"):
        Replica(Path("none/none"), open_spool("s3://spool/none/none", machine("runner").spool_options)).pull(0.5)
