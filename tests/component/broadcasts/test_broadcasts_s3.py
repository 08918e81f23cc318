"""The same on S3, over HTTP: list, verify, export, delete, clean, and a channel that keeps only its window."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest
import s3fs
from moto.server import ThreadedMotoServer

from streamwave.broadcasts import catalog
from streamwave.broadcasts import delete as removal
from streamwave.broadcasts.catalog import Output
from streamwave.broadcasts.export_files import export_files
from streamwave.manifest.ledger import Ledger
from streamwave.manifest.lines import BroadcastLine
from streamwave.manifest.names import named_objects
from streamwave.manifest.packaged import PackagedChunk
from streamwave.publish.expiry import Expiry
from streamwave.publish.publication import Publication
from streamwave.retention import janitor
from streamwave.verify import verify_broadcast
from tests.support.media import make_clip
from tests.support.published import CREATED_MS, PATH, only, packaged, publish

NOW_MS = time.time_ns() // 1_000_000


@pytest.fixture(scope="module")
def chunks(tmp_path_factory: pytest.TempPathFactory) -> list[PackagedChunk]:
    folder = tmp_path_factory.mktemp("chunks")
    return packaged(folder, make_clip(folder / "a.mp4", frames=150, gop=25))


@pytest.fixture(scope="module")
def options() -> Iterator[dict[str, Any]]:
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        found = {
            "key": "k",
            "secret": "s",
            "client_kwargs": {"endpoint_url": f"http://{host}:{port}", "region_name": "eu-west-1"},
        }
        s3fs.S3FileSystem(**found).mkdir("bucket")
        yield found
    finally:
        server.stop()


@pytest.fixture
def output(tmp_path: Path, options: dict[str, Any]) -> Output:
    return Output(f"s3://bucket/{tmp_path.name}", options, tmp_path / "spool")


def test_from_publish_to_nothing(output: Output, chunks: list[PackagedChunk], tmp_path: Path) -> None:
    publish(output, chunks, chunks)
    publish(output, chunks[:1], path="hall/20260102-000000-0001", finish=False)
    assert {one.path: one.state for one in catalog.list_broadcasts(output, CREATED_MS)} == {
        PATH: "recorded", "hall/20260102-000000-0001": "live"
    }  # fmt: skip
    store = output.store(PATH)
    verdict = verify_broadcast(store)
    assert verdict.findings == [] and verdict.renditions["large"].samples == 300
    export_files(store, tmp_path / "a.mp4", None, True, False, False, lambda done, total: None)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 300
    store.delete("p1/small/25000.m4s")
    store.put("p0/small/777.m4s", b"left over")
    assert verify_broadcast(store, decode=False).findings == ["p1/small/25000.m4s: missing"]
    found = janitor.clean(output, days=0, now_unix_ms=time.time_ns() // 1_000_000 + 60_000)
    # The hall's has been silent for longer than a broadcast may be, but it goes only when it is old enough.
    assert [(one.what, one.trouble) for one in found] == [(f"{PATH}/p0/small/777.m4s", None)]
    removal.remove(output, only(output, "stage", NOW_MS))
    assert {name.split("/")[0] for name in output.store().names()} == {"hall", "broadcasts.json"}


def test_a_channel_keeps_its_window(output: Output, chunks: list[PackagedChunk]) -> None:
    now = 0.0
    store = replace(output).store(PATH)
    published = Publication(store, manifests=True, token="t")
    published._expiry = Expiry(store, lambda: now)
    header = BroadcastLine(created_unix_ms=CREATED_MS, segment_ms=1000, fingerprint="f", dvr_window_ms=1000, keep=False)
    published.begin(header)
    for number in range(3):
        for chunk in chunks:
            now += 1
            published.publish(chunk, f"{number:06d}", f"p{number}", CREATED_MS + 6016 * number)
            assert verify_broadcast(store, decode=False).findings == []
    published.finish()
    published.close()
    timeline = Ledger.load(store).timeline
    assert timeline is not None and verify_broadcast(store).findings == []
    media = {name for name in store.names() if name.endswith((".m4s", ".mp4"))}
    assert named_objects(timeline) <= media and len([name for name in media if "large" in name]) <= 8
