"""The promises of publishing, the same for a local folder, memory and S3 over real HTTP."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamwave.errors import OutputError
from streamwave.layout import FENCE, MANIFEST, MASTER
from streamwave.manifest.ledger import Ledger
from streamwave.manifest.packaged import PackagedChunk
from streamwave.publish.publication import Publication
from streamwave.storage.location import BaseUrl
from streamwave.storage.store import Store, open_store
from tests.support.broadcast import HEADER, LADDER, chunk
from tests.support.processes import wait_for
from tests.support.reader import Reader
from tests.support.s3 import S3
from tests.support.sizes import size_of

#: ``make soak``: everything at its full length.
FULL = bool(os.environ.get("TESTS_FULL"))

Opener = Callable[[str], Store]


@pytest.fixture(params=["local", "memory", "s3"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """A function that opens the store of that kind under a name."""
    run = uuid.uuid4().hex
    if request.param == "local":
        return lambda name: open_store(str(tmp_path / "out" / name))
    if request.param == "memory":
        return lambda name: open_store(f"memory://{run}/{name}")
    s3: S3 = request.getfixturevalue("s3")
    bucket = s3.bucket("publishing")
    return lambda name: open_store(f"{bucket}/{run}/{name}", s3.options)


def published(store: Store, work: Path, count: int, **options: Any) -> Publication:
    """A live publication that has stored ``count`` chunks."""
    publication = Publication(store, manifests=True, token="t", **options)
    publication.begin(HEADER)
    for number in range(count):
        publication.publish(chunk(work, number), "file", "p0")
    return publication


def test_segments_before_manifests_before_ledger(opened: Opener, tmp_path: Path) -> None:
    store = opened("a")
    order: list[str] = []
    lock, put = threading.Lock(), store.put

    def noted(name: str, data: bytes) -> None:
        put(name, data)
        with lock:  # the moment at which it is durable
            order.append(name)

    store.put = noted  # type: ignore[method-assign]
    publication = published(store, tmp_path / "work", 3)
    publication.finish()
    publication.close()
    assert order[:2] == [FENCE, "ledger/000000.jsonl"]
    rounds = " ".join(order[2:]).split("ledger/000000.jsonl")
    assert len(rounds) == 5 and rounds[-1] == ""
    for number, one in enumerate(rounds[:3]):
        names = one.split()
        media = [name for name in names if name.endswith((".m4s", ".mp4"))]
        assert len(media) == (4 if number == 0 else 2) and names[: len(media)] == media
        assert set(names[len(media) :]) == {"360p.m3u8", "audio.m3u8", MASTER, MANIFEST}
    first = rounds[0].split()
    assert first.index(MASTER) > max(first.index("360p.m3u8"), first.index("audio.m3u8"))


def test_manifests_of_one_second_become_one_and_the_last_is_never_lost(opened: Opener, tmp_path: Path) -> None:
    store = opened("a")
    manifests: list[bytes] = []
    put = store.put

    def noted(name: str, data: bytes) -> None:
        if name == MANIFEST:
            manifests.append(data)
        put(name, data)

    store.put = noted  # type: ignore[method-assign]
    begun, interval_s = time.monotonic(), 1.5
    publication = published(store, tmp_path / "work", 8, manifest_interval_s=interval_s)

    def at_most() -> float:
        """The first comes at once, the others as one for each interval, however long the chunks take."""
        return 1 + (time.monotonic() - begun) / interval_s

    # Nothing has to push the last one.
    assert len(manifests) <= at_most()

    def newest_is_visible() -> bool:
        return b"350000" in (store.get("360p.m3u8") or b"") or b"/350000.m4s" in (store.get("360p.m3u8") or b"")

    wait_for(newest_is_visible, "the last manifest")
    assert len(manifests) <= at_most()
    publication.publish(chunk(tmp_path / "work", 8), "file", "p0")
    publication.publish(chunk(tmp_path / "work", 9), "file", "p0")
    publication.finish()
    publication.close()
    assert b'type="static"' in (store.get(MANIFEST) or b"") and b"450000.m4s" in (store.get("360p.m3u8") or b"")


def test_the_last_manifest_survives_an_outage(opened: Opener, tmp_path: Path) -> None:
    store = opened("a")
    put, refuses, refused = store.put, threading.Event(), threading.Event()

    def failing(name: str, data: bytes) -> None:
        if refuses.is_set() and not name.startswith(("p0/", "ledger/")):
            refused.set()
            raise OutputError("away")
        put(name, data)

    store.put = failing  # type: ignore[method-assign]
    # The interval is over when the test says so, and not in the middle of a publish that takes long.
    publication = published(store, tmp_path / "work", 1, manifest_interval_s=3600)
    refuses.set()
    publication.publish(chunk(tmp_path / "work", 1), "file", "p0")
    assert publication._manifests.due and not refused.is_set()
    publication._manifests.cancel()
    publication._manifests.schedule(0)
    assert refused.wait(60)
    refuses.clear()
    wait_for(lambda: b"50000.m4s" in (store.get("360p.m3u8") or b""), "the manifest")
    publication.close()


def test_what_an_earlier_run_wrote_until_it_was_fenced_out_counts(opened: Opener, tmp_path: Path) -> None:
    old = published(opened("a"), tmp_path / "work", 1)
    new = Publication(opened("a"), manifests=True, token="new")
    # After the new run has looked, and before it takes over.
    old.publish(chunk(tmp_path / "work", 1), "file", "p0")
    new.begin(HEADER)
    assert new.next_chunk("file") == 2
    new.publish(chunk(tmp_path / "work", 2), "file", "p0")
    assert Ledger.load(opened("a")).chunk_count == 3
    for publication in (old, new):
        publication.close()


@pytest.mark.parametrize("name", [MANIFEST, MASTER])
def test_another_programs_manifest_is_not_overwritten(opened: Opener, tmp_path: Path, name: str) -> None:
    store = opened("a")
    store.put(name, b"theirs")
    publication = Publication(store, manifests=True, token="t")
    with pytest.raises(OutputError, match=f"holds a {name} that another program wrote; choose another output"):
        publication.begin(HEADER)
    publication.discard()
    publication.close()
    assert store.names() == [name] and store.get(name) == b"theirs"


def test_a_reader_in_a_tight_loop_during_many_publishes(opened: Opener, tmp_path: Path) -> None:
    """1,000 publishes on the local disk, in broadcasts of 250 chunks; elsewhere 60, or all with ``make soak``."""
    publishes, whole = 0, FULL or not opened("0").remote and opened("0").url.startswith("/")
    for part in range(4 if whole else 1):
        reader = Reader(opened(str(part)).get, size_of)
        publication = Publication(opened(str(part)), manifests=True, token="t")
        publication.begin(HEADER.model_copy(update={"dvr_window_ms": 20_000}))
        with reader.looking():
            for number in range(250 if whole else 60):
                publication.publish(chunk(tmp_path / "work", number), "file", "p0")
                publishes += 1
                if number % 15 == 14:  # however seldom it gets the processor, it looks in between
                    reader.looked()
        publication.close()
        # With a window the lists do not grow; what they name was looked at.
        assert [fault for fault in reader.faults if "went back" not in fault] == [] and reader.rounds > 3
    assert publishes == (1000 if whole else 60)


def test_a_broadcast_is_copied_from_where_it_is_further(opened: Opener, tmp_path: Path) -> None:
    leader = Publication(opened("leader"), manifests=True, token="t")
    leader.begin(HEADER)
    second = HEADER.created_unix_ms + 60_000
    sent: list[tuple[PackagedChunk, str, str, int]] = []
    # On the local disk more than a part of the ledger.
    count = 300 if opened("0").url.startswith("/") else 14
    for number in range(count):
        sent.append((chunk(tmp_path / "work", number), "one", "p0", HEADER.created_unix_ms))
    sent.append((chunk(tmp_path / "work", 0, init=b"other"), "two", "p1", second))
    behind = Publication(opened("behind"), manifests=True, token="t")
    behind.begin(HEADER)
    for one in sent[:3]:
        leader.publish(*one)
        behind.publish(*one)
    for one in sent[3:10]:
        leader.publish(*one)
    assert behind.copy_from(leader) == 7 and behind.copy_from(leader) == 0
    behind.publish(*sent[9])
    for one in sent[10:]:
        leader.publish(*one)
    leader.finish()
    assert behind.copy_from(leader) == count - 9
    assert behind.progress == leader.progress and behind.progress.ended
    trees = [
        {n: opened(place).get(n) for n in opened(place).names() if not n.endswith(".mpd")}
        for place in ("leader", "behind")
    ]
    assert trees[0] == trees[1]
    for publication in (leader, behind):
        publication.close()


def test_base_addresses_stand_in_the_manifests(opened: Opener, tmp_path: Path) -> None:
    bases = (BaseUrl("https://a.example/tv/", "a", 1, 3), BaseUrl("https://b.example/tv/", "b", 2, 1))
    publication = Publication(opened("a"), manifests=True, token="t", base_urls=bases)
    publication.begin(HEADER)
    publication.publish(chunk(tmp_path / "work", 0, renditions=LADDER), "file", "p0")
    publication.close()
    mpd = (opened("a").get(MANIFEST) or b"").decode()
    assert '<BaseURL serviceLocation="a" dvb:priority="1" dvb:weight="3">https://a.example/tv/</BaseURL>' in mpd
    assert '<BaseURL serviceLocation="b" dvb:priority="2" dvb:weight="1">https://b.example/tv/</BaseURL>' in mpd
    master = (opened("a").get(MASTER) or b"").decode()
    for base in bases:
        assert f"\n{base.url}720p.m3u8\n" in master
