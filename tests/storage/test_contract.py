"""The promises of a store, the same for a local folder, memory and S3 over real HTTP."""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from pathlib import Path

import pytest

from streamwave.broadcasts.delete import delete_all
from streamwave.errors import OutputError
from streamwave.storage.store import Store, open_store
from tests.support.processes import wait_for
from tests.support.s3 import S3


@pytest.fixture(params=["local", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store of each kind."""
    if request.param == "local":
        return open_store(str(tmp_path / "out"))
    if request.param == "memory":
        return open_store(f"memory://{uuid.uuid4().hex}")
    s3: S3 = request.getfixturevalue("s3")
    return open_store(f"{s3.bucket('contract')}/{uuid.uuid4().hex}", s3.options)


def test_put_get_exists_delete(store: Store) -> None:
    assert store.get("p0/a/init.mp4") is None and not store.exists("p0/a/init.mp4") and store.names() == []
    store.put("p0/a/init.mp4", b"one")
    store.put("manifest.mpd", b"")
    store.put("p0/a/init.mp4", b"second")
    assert store.get("p0/a/init.mp4") == b"second" and store.get("manifest.mpd") == b""
    assert store.exists("manifest.mpd") and not store.exists("p0") and not store.exists("p0/a")
    assert store.names() == ["manifest.mpd", "p0/a/init.mp4"]
    store.delete("p0/a/init.mp4")
    store.delete("p0/a/init.mp4")
    assert store.get("p0/a/init.mp4") is None and store.names() == ["manifest.mpd"]


def test_listing_with_sizes_and_times(store: Store) -> None:
    before = time.time_ns() // 1_000_000
    for name, size in (("p0/a/1.m4s", 5), ("p0/b/1.m4s", 7), ("p1/a/init.mp4", 0), ("z.mpd", 1)):
        store.put(name, b"x" * size)
    assert [(e.name, e.size) for e in store.entries()] == [
        ("p0/a/1.m4s", 5), ("p0/b/1.m4s", 7), ("p1/a/init.mp4", 0), ("z.mpd", 1),
    ]  # fmt: skip
    assert [e.name for e in store.entries("p0")] == ["p0/a/1.m4s", "p0/b/1.m4s"]
    assert store.entries("p7") == []
    # Some services tell whole seconds only.
    assert all(before - 1000 <= e.modified_unix_ms <= before + 60_000 for e in store.entries())
    assert store.list_matching("*/*/init.mp4") == ["p1/a/init.mp4"]
    assert store.list_matching("*/*/*") == ["p0/a/1.m4s", "p0/b/1.m4s", "p1/a/init.mp4"]
    assert store.list_matching("*") == store.list_matching("z.mpd") == ["z.mpd"]
    assert store.list_matching("*/b/*") == ["p0/b/1.m4s"] and store.list_matching("*/a") == []
    assert store.list_matching("p7/*") == store.list_matching("z.mpd/*") == []
    assert store.list_matching("p0/*/1.m4s") == ["p0/a/1.m4s", "p0/b/1.m4s"]


def test_many_are_deleted_at_once(store: Store) -> None:
    names = [f"p0/a/{n}.m4s" for n in range(30)]
    for name in names:
        store.put(name, b"x")
    store.put("keep.mpd", b"x")
    assert list(delete_all(store, [*names, "p0/a/never.m4s"])) == [*names, "p0/a/never.m4s"]
    assert store.names() == ["keep.mpd"]
    assert list(delete_all(store, [])) == []


def test_large_objects_are_one_put(store: Store) -> None:
    data = bytes(range(256)) * (12 * 2**20 // 256)
    store.put("p0/a/1.m4s", data)
    assert store.get("p0/a/1.m4s") == data


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", ".hidden", "a b", "ä"])
def test_no_way_out_of_the_root(store: Store, name: str) -> None:
    for action in (store.get, store.delete, store.exists, lambda name: store.put(name, b"x")):
        with pytest.raises(OutputError, match="is not a valid object name"):
            action(name)
    assert store.names() == []


def test_check_leaves_no_trace(store: Store) -> None:
    store.check()
    assert store.names() == []


def test_a_reader_sees_the_old_or_the_new_and_never_an_older_one(store: Store) -> None:
    """In a tight loop, during 100 puts of sizes that differ."""
    contents = [f"{n:06d}".encode() * (1 + 7000 * (n % 3)) for n in range(100)]
    store.put("manifest.mpd", contents[0])
    numbers: list[int] = []
    wrong: list[bytes | None] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            data = store.get("manifest.mpd")
            if data not in contents:
                wrong.append(data)
            else:
                numbers.append(contents.index(data))

    reader = threading.Thread(target=read)
    reader.start()
    for number, data in enumerate(contents):
        store.put("manifest.mpd", data)
        if number % 8 == 7:  # however seldom it gets the processor, it reads in between
            enough = len(numbers) + 1
            wait_for(lambda enough=enough: wrong or len(numbers) >= enough, "the reader")  # type: ignore[misc]
    stop.set()
    reader.join(60)
    assert not wrong and len(numbers) > 10
    assert all(a <= b for a, b in itertools.pairwise(numbers))


def test_many_threads_at_once(store: Store) -> None:
    failures: list[BaseException] = []

    def work(worker: int) -> None:
        try:
            for n in range(8):
                store.put(f"p{worker}/a/{n}.m4s", f"{worker} {n}".encode())
                assert store.get(f"p{worker}/a/{n}.m4s") == f"{worker} {n}".encode()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures and len(store.names()) == 96
