"""Stores: objects whole or not at all, names that cannot leave the root, and reasons that a person understands."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from streamwave.errors import OutputError
from streamwave.storage.outputs import check_outputs
from streamwave.storage.store import (
    CHANGING,
    IMMUTABLE,
    FsspecStore,
    LocalStore,
    Store,
    cache_control,
    content_type,
    open_store,
)
from streamwave.util.files import make_public_folder
from tests.support.disk import small_disk


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return LocalStore(tmp_path / "out") if request.param == "local" else open_store(f"memory://{tmp_path.name}")


def test_put_get_delete(store: Store) -> None:
    assert store.get("p0/a/init.mp4") is None and store.names() == []
    store.put("p0/a/init.mp4", b"one")
    store.put("manifest.mpd", b"")
    store.put("p0/a/init.mp4", b"two")
    assert store.get("p0/a/init.mp4") == b"two" and store.get("manifest.mpd") == b""
    assert store.names() == ["manifest.mpd", "p0/a/init.mp4"]
    assert store.list_matching("*/*/init.mp4") == ["p0/a/init.mp4"]
    store.delete("p0/a/init.mp4")
    store.delete("p0/a/init.mp4")
    assert store.get("p0/a/init.mp4") is None and store.names() == ["manifest.mpd"]


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", ".hidden", "a b", "a\0", "a\n", "ä", "a/./b", "~"]
)
def test_no_way_out_of_the_root(store: Store, name: str) -> None:
    for action in (lambda: store.put(name, b"x"), lambda: store.get(name), lambda: store.delete(name)):
        with pytest.raises(OutputError, match="is not a valid object name"):
            action()
    assert store.names() == []


def test_check_leaves_no_trace(tmp_path: Path) -> None:
    LocalStore(tmp_path / "a" / "b" / "out").check()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "there").mkdir()
    LocalStore(tmp_path / "there").check()
    assert (tmp_path / "there").is_dir()


def test_prune_takes_what_is_ours_and_empty(tmp_path: Path) -> None:
    (tmp_path / "out" / "mine").mkdir(parents=True)
    store = LocalStore(tmp_path / "out")
    store.put("p0/a/1.m4s", b"x")
    store.put("p0/b/1.m4s", b"x")
    store.delete("p0/a/1.m4s")
    store.prune()
    assert {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")} == {
        "out",
        "out/mine",
        "out/p0",
        "out/p0/b",
        "out/p0/b/1.m4s",
    }
    store.delete("p0/b/1.m4s")
    store.prune()
    # The folder that was there before is the user's.
    assert {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")} == {"out", "out/mine"}


def test_tidy_removes_what_a_killed_writer_left(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("p0/a/1.m4s", b"x")
    for name in (".manifest.mpd.0123abcd", "ledger/.000000.jsonl.89abcdef", "p0/a/.2.m4s.00000000"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / ".htaccess").write_text("mine")
    store.tidy()
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == [
        ".htaccess",
        "p0/a/1.m4s",
    ]


def test_readers_see_the_old_or_the_new(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    contents = [bytes([n]) * 200_000 for n in range(2)]
    store.put("manifest.mpd", contents[0])
    seen: set[bytes] = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.add((tmp_path / "manifest.mpd").read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for n in range(200):
        store.put("manifest.mpd", contents[n % 2])
    stop.set()
    reader.join(60)
    assert seen <= set(contents)
    assert list(tmp_path.iterdir()) == [tmp_path / "manifest.mpd"]


def test_a_put_that_fails_leaves_the_old_one_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path)
    store.put("a", b"old")

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OutputError, match=r"cannot be written \(no space left; free some or choose another place\)"):
        store.put("a", b"new")
    monkeypatch.undo()
    assert store.get("a") == b"old" and [p.name for p in tmp_path.iterdir()] == ["a"]


def test_what_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"precious")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        store = LocalStore(root)
        with pytest.raises(OutputError, match=f"{root} cannot be written .*a file is in the way"):
            store.check()
        assert store.get("a") is None
    assert (tmp_path / "file").read_bytes() == b"precious"


def test_a_folder_that_may_only_be_read(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 100, options="ro") as disk:
        for root in (disk, disk / "out"):
            with pytest.raises(OutputError, match=r"cannot be written .permission denied; choose a writable folder"):
                LocalStore(root).check()
            with pytest.raises(OutputError, match="permission denied"):
                check_outputs(str(root), {})
        # One of several: it is told, and the other one is used.
        (fault,) = check_outputs(f"{disk}, {tmp_path / 'good'}", {})
        assert fault.startswith(f"{disk} cannot be written (permission denied")


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("out", LocalStore),
        ("/srv/out", LocalStore),
        ("file:///srv/out", LocalStore),
        ("memory://x", FsspecStore),
        ("~/x", LocalStore),
    ],
)
def test_addresses(url: str, kind: type[Store]) -> None:
    store = open_store(url)
    assert isinstance(store, kind)
    if isinstance(store, LocalStore):
        assert store.root.is_absolute() and "~" not in str(store.root)


@pytest.mark.parametrize(
    "url", ["", "  ", "a\0b", "nosuch://x", "ftp://127.0.0.1:1/nobody/listens", "/tmp/" + 300 * "a"]
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(OutputError):
        open_store(url)


def test_types_and_caching() -> None:
    assert [content_type(name) for name in ("a.mpd", "a.m3u8", "p/a/1.m4s", "p/a/init.mp4", "x")] == [
        "application/dash+xml", "application/vnd.apple.mpegurl", "video/mp4", "video/mp4", "application/octet-stream",
    ]  # fmt: skip
    assert [content_type(name) for name in ("broadcast.json", "ledger/000000.jsonl", "thumbnail.jpg")] == [
        "application/json", "application/jsonl", "image/jpeg",
    ]  # fmt: skip
    assert {cache_control(name) for name in ("p/a/1.m4s", "p/a/init.mp4")} == {IMMUTABLE}
    assert {cache_control(name) for name in ("a.mpd", "a.m3u8", "ledger/000000.jsonl")} == {CHANGING}


def test_folders_that_somebody_removes_while_they_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broadcast that is deleted meanwhile is no error of those that list the others."""
    store, scandir = LocalStore(tmp_path), os.scandir
    store.put("p0/a/1.m4s", b"x")

    def vanishing(path: str | Path) -> object:
        if Path(path).name == "going":
            Path(path).rmdir()
        return scandir(path)

    monkeypatch.setattr(os, "scandir", vanishing)
    (tmp_path / "p0" / "going").mkdir()
    assert [entry.name for entry in store.entries()] == ["p0/a/1.m4s"]
    (tmp_path / "p0" / "going").mkdir()
    assert store.list_matching("*/*/*") == ["p0/a/1.m4s"]


def test_a_folder_that_somebody_removes_before_anything_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever deletes the last broadcast of a stream removes its folder as well, in which the next one may be beginning."""
    made = list[Path]()

    def make_in_vain(folder: Path) -> None:
        make_public_folder(folder)
        made.append(folder)
        if len(made) == 1:
            folder.rmdir()

    monkeypatch.setattr("streamwave.storage.local.make_public_folder", make_in_vain)
    LocalStore(tmp_path / "out").put("broadcast.json", b"x")
    assert len(made) == 2 and (tmp_path / "out" / "broadcast.json").read_bytes() == b"x"
