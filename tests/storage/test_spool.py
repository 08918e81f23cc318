"""The spool in a store: what it promises is what a folder promises, for runs that share no disk with the receiver."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streamwave.layout import ENTRY, FENCE
from streamwave.live import LiveBroadcast
from streamwave.settings import Settings
from streamwave.spool.broadcast import BroadcastSpool, open_session
from streamwave.spool.info import write_info
from streamwave.spool.options import Options
from streamwave.spool.remote.exchange import CLEARED, Exchange
from streamwave.spool.remote.replica import replica
from streamwave.spool.segmenter import Segmenter
from tests.support.cli import LADDER
from tests.support.media import Clip, make_clip
from tests.support.processes import wait_for
from tests.support.s3 import KEYS, S3
from tests.unit.test_live import publish

CHUNKS = 6


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=25 * CHUNKS, gop=25, size="160x90")


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS["key"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS["secret"])


@pytest.fixture
def machine(tmp_path: Path, s3: S3) -> Callable[..., Settings]:
    """Settings of a machine that has the name of its folder, with its spool in a bucket."""
    s3.bucket("spool")

    def make(name: str, **changes: object) -> Settings:
        values = {
            "state_dir": tmp_path / name, "spool_place": f"s3://spool/{tmp_path.name}", "s3_endpoint": s3.endpoint,
            "s3_region": "us-east-1", "s3_path_style": True, "output_dir": str(tmp_path / "out"), "segment_seconds": 1,
            "ladder": json.dumps(LADDER), "preset": "ultrafast", "encoder_threads": 1,
        }  # fmt: skip
        return Settings.load(env_file=None, **{**values, **changes})

    return make


@contextmanager
def looked_after(spool: BroadcastSpool, settings: Settings) -> Iterator[Exchange]:
    """What the processing service does for a broadcast that this machine receives."""
    exchange, stopping = Exchange(spool, settings.spool_options, run_limit_s=3), threading.Event()

    def run() -> None:
        while not stopping.wait(0.1):
            exchange.look()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield exchange
    finally:
        stopping.set()
        thread.join(20)
        exchange.close()


def receive(settings: Settings, clip: Clip, window_ms: int = 0) -> tuple[BroadcastSpool, Path]:
    """A new session into which ``clip`` is to be received."""
    return open_session(
        settings.spool_dir, "show", output=settings.output_url, window_ms=window_ms, owner="test",
        remote=settings.spool_url or "",
    )  # fmt: skip


def options(settings: Settings, clip: Clip, session: Path) -> Options:
    return Options(
        source=f"file:{clip.path}", spool=session, segment_ms=1000, store_options=settings.spool_options,
        spool_max_bytes=10**9,
    )  # fmt: skip


def published(root: Path) -> dict[str, bytes]:
    """What players get, and the ledger; without the wall clock at which the run wrote it."""
    found = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    return {
        name: re.sub(rb'publishTime="[^"]*"', b"", data) for name, data in found.items() if name not in (FENCE, ENTRY)
    }


def test_a_run_that_shares_no_disk_publishes_what_one_with_a_folder_does(
    machine: Callable[..., Settings], clip: Clip, tmp_path: Path, s3: S3
) -> None:
    receiver, runner = machine("receiver"), machine("runner")
    # The same session twice, from the same journal.
    local, session = open_session(tmp_path / "local", "show", output=str(tmp_path / "expected"), window_ms=0)
    Segmenter(Options(source=f"file:{clip.path}", spool=session, segment_ms=1000)).run()
    spool = BroadcastSpool(receiver.spool_dir / "show" / local.broadcast)
    shutil.copytree(local.folder, spool.folder)
    url = f"{receiver.spool_url}/show/{local.broadcast}"
    write_info(spool.folder, local.info().model_copy(update={"spool": url, "output": str(tmp_path / "got")}))
    with LiveBroadcast(local, runner, "expected") as broadcast:
        assert publish(broadcast, broadcast.chunks()) == CHUNKS
        broadcast.finish()
    with looked_after(spool, receiver), replica(url, runner) as seen:
        with LiveBroadcast(seen, runner, "run") as broadcast:
            wait_for(spool.run_alive, "the receiver to see the run", 10)
            assert publish(broadcast, broadcast.chunks()) == CHUNKS
            wait_for(lambda: spool.status().get("chunks") == CHUNKS, "the status", 10)
            left = s3.objects("spool", f"{tmp_path.name}/show/{local.broadcast}")
            wait_for(
                lambda: not [n for n in s3.objects("spool", tmp_path.name) if n.endswith((".mkv", ".aac"))],
                f"the objects of published chunks to go from {sorted(left)}",
                10,
            )
            broadcast.finish()
        wait_for(lambda: (spool.folder / CLEARED).exists(), "the receiver to clear up", 10)
    assert published(tmp_path / "got") == published(Path(local.info().output))
    assert spool.finished and spool.status()["state"] == "finished" and spool.sessions() == []
    assert s3.objects("spool", tmp_path.name) == {}
    assert list((runner.state_dir / "replica").iterdir()) == []
