"""What is received goes to the store in order and comes out of it the same; who comes late need not ask for each line."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import pytest

from streamwave.errors import OutputError
from streamwave.model import ChunkRecord, SourceInfo
from streamwave.spool.broadcast import BroadcastSpool, open_session
from streamwave.spool.consumed import note_forgotten
from streamwave.spool.journal import JOURNAL, ChunkLine, EndRecord, JournalReader, JournalWriter, OpenRecord
from streamwave.spool.quota import INODE_BYTES, held_by_stream
from streamwave.spool.remote import mirror as mirror_module
from streamwave.spool.remote import stored as stored_module
from streamwave.spool.remote.fetch import Fetcher
from streamwave.spool.remote.mirror import SessionMirror, clear_published, mirror_trouble, mirrored
from streamwave.storage.store import LocalStore
from tests.support.processes import wait_for

OPEN = OpenRecord(source=SourceInfo(url="u", container="flv"), rate=Fraction(25), sample_rate=None, origin_unix_ms=5)


class Recorder(LocalStore):
    """A store that tells what was asked of it, and refuses what ``refuses`` says."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.puts: list[str] = []
        self.gets: list[str] = []
        self.refuses: Callable[[str], bool] = lambda name: False

    def put(self, name: str, data: bytes) -> None:
        if self.refuses(name):
            raise OutputError("no")
        self.puts.append(name)
        super().put(name, data)

    def get(self, name: str) -> bytes | None:
        if self.refuses(name):
            raise OutputError("no")
        self.gets.append(name)
        return super().get(name)


@pytest.fixture
def session(tmp_path: Path) -> Path:
    return open_session(tmp_path / "spool", "show", output="/out", window_ms=0, remote="s3://spool")[1]


@pytest.fixture
def store(tmp_path: Path) -> Recorder:
    return Recorder(tmp_path / "store")


def receive(session: Path, count: int, *, end: bool = True) -> None:
    """A session of ``count`` chunks, as a segmenter writes it."""
    writer = JournalWriter(session)
    writer.append(OPEN)
    for number in range(count):
        name = f"{number:06d}.mkv"
        (session / name).write_bytes(b"%06d" % number * 1000)
        record = ChunkRecord(number=number, video_file=name, start_ms=number * 40, next_ms=number * 40 + 40, pictures=1)
        writer.append(ChunkLine(chunk=record))
    if end:
        writer.append(EndRecord(reason="stopped", ended_unix_ms=1))
    writer.close()


def mirror(session: Path, store: Recorder) -> None:
    with ThreadPoolExecutor(4) as pool:
        one = SessionMirror(session, store, pool)
        while one.step():
            pass


def test_no_line_is_there_before_its_chunk_and_what_is_stored_leaves_the_disk(session: Path, store: Recorder) -> None:
    receive(session, 6)
    mirror(session, store)
    for number in range(6):
        assert store.puts.index(f"000000/{number:06d}.mkv") < store.puts.index(f"000000/journal/{number + 1:06d}.json")
    lines = [name for name in store.puts if "journal" in name]
    assert lines == [f"000000/journal/{number:06d}.json" for number in range(8)]
    assert mirrored(session) == (8, True)
    # What the run has not published counts for the bound of the spool, but takes no space.
    left = sorted(path.name for path in session.iterdir() if path.suffix == ".mkv")
    assert left == [f"stored-{number:06d}.mkv" for number in range(6)]
    assert sum(os.stat(session / name).st_blocks for name in left) == 0
    assert held_by_stream(session.parents[2]) == {"show": 6 * INODE_BYTES}
    clear_published(session, 5)
    assert held_by_stream(session.parents[2]) == {"show": INODE_BYTES}
    assert [path.name for path in session.glob("*.mkv")] == ["stored-000005.mkv"]


def test_a_mirror_goes_on_where_the_one_before_was_interrupted(session: Path, store: Recorder) -> None:
    receive(session, 5)
    store.refuses = lambda name: name.endswith("000003.json")
    with pytest.raises(OutputError):
        mirror(session, store)
    assert not store.exists("000000/journal/000003.json") and store.exists("000000/journal/000002.json")
    store.refuses = lambda name: False
    mirror(session, store)
    for number in range(5):
        assert store.get(f"000000/{number:06d}.mkv") == b"%06d" % number * 1000
    written = (session / JOURNAL).read_bytes().splitlines()
    assert [store.get(f"000000/journal/{number:06d}.json") for number in range(7)] == written
    assert mirror_trouble(session) == ""


def replica(tmp_path: Path, store: Recorder, done: dict[str, int], most: int) -> tuple[BroadcastSpool, Fetcher]:
    spool = BroadcastSpool(tmp_path / "replica" / "show" / "one")
    spool.folder.mkdir(parents=True)
    return spool, Fetcher(spool.folder, store, done, most=most, lost_s=60)


def test_who_comes_late_reads_a_long_journal_in_few_requests_and_fetches_what_is_needed(
    session: Path, store: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (mirror_module, stored_module):
        monkeypatch.setattr(module, "PART_LINES", 10)
    receive(session, 72)
    mirror(session, store)
    store.put("closed", b"1")
    kept = {name for name in store.names() if name.startswith("000000/journal/0")}
    assert len(kept) == 24, "lines that parts hold are not kept for ever"
    spool, fetcher = replica(tmp_path, store, {"000000": 50}, most=8)
    store.gets.clear()
    fetcher.start()
    try:
        wait_for(lambda: len(list(spool.folder.glob("*/*.mkv"))) == 8, "what may lie here")
        own = spool.folder / "000000"
        # Not more than may lie here, until some of it is published.
        assert sorted(path.name for path in own.glob("*.mkv")) == [f"{number:06d}.mkv" for number in range(50, 58)]
        for number in (51, 50):
            (own / f"{number:06d}.mkv").unlink()
            note_forgotten(own, number)
        fetcher.forget()
        assert fetcher.done == {"000000": 52}
        assert not store.exists("000000/000050.mkv") and store.exists("000000/000052.mkv")
        for number in range(52, 72):
            wait_for((own / f"{number:06d}.mkv").exists, f"chunk {number}")
            note_forgotten(own, number)
            fetcher.forget()
        wait_for(lambda: spool.closed, "the end")
    finally:
        fetcher.stop()
    assert (own / JOURNAL).read_bytes() == (session / JOURNAL).read_bytes()
    assert len([name for name in store.gets if "journal" in name]) < 20, store.gets


def test_a_store_that_refuses_is_no_sign_that_the_receiver_is_lost(
    session: Path, store: Recorder, tmp_path: Path
) -> None:
    receive(session, 2, end=False)
    mirror(session, store)
    spool, fetcher = replica(tmp_path, store, {}, most=8)
    fetcher._lost_s = 1.0
    store.refuses = lambda name: True
    fetcher.start()
    try:
        wait_for(lambda: fetcher.refused_s() > 1.5, "the time")
        assert not spool.closed and fetcher.trouble == "no"
        store.refuses = lambda name: False
        wait_for(lambda: spool.closed, "the end without a receiver")
    finally:
        fetcher.stop()
    lines = JournalReader(spool.folder / "000000").read()
    assert isinstance(lines[-1], EndRecord) and lines[-1].reason == "cut off" and len(lines) == 4
