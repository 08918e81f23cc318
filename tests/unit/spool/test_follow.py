"""Following a spool while it is written, and noticing when nobody writes it any more."""

from __future__ import annotations

import threading
from fractions import Fraction
from pathlib import Path

import pytest

from streamwave.errors import SourceError, SpoolError
from streamwave.model import ChunkRecord, SourceInfo
from streamwave.spool import follow
from streamwave.spool.follow import Follower
from streamwave.spool.journal import JOURNAL, ChunkLine, EndRecord, JournalWriter, OpenRecord

OPEN = OpenRecord(source=SourceInfo(url="u", container="flv"), rate=Fraction(25), sample_rate=None, origin_unix_ms=5)


def record(number: int) -> ChunkRecord:
    return ChunkRecord(number=number, video_file=f"{number:06d}.mkv", start_ms=0, next_ms=2000, pictures=50)


def test_chunks_come_as_they_are_written(tmp_path: Path) -> None:
    follower = Follower(tmp_path)
    writer = JournalWriter(tmp_path)
    writer.append(OPEN)
    writer.append(ChunkLine(chunk=record(0)))
    assert follower.wait_open(5) == OPEN
    chunks = follower.chunks()
    assert next(chunks) == record(0)

    def go_on() -> None:
        writer.append(ChunkLine(chunk=record(1)))
        writer.append(EndRecord(reason="end of source"))
        writer.close()

    # Only when the follower waits for more does more come.
    rest = list(Follower.chunks(follower, tick=once(go_on)))
    assert rest == [record(1)]
    assert follower.ended == EndRecord(reason="end of source")
    assert list(follower.chunks()) == []


def once(action):
    """Calls ``action`` at its first call only."""
    calls = iter([action])
    return lambda: next(calls, lambda: None)()


def test_waiting_does_not_turn_a_half_written_line_into_a_chunk(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path)
    writer.append(OPEN)
    line = (ChunkLine(chunk=record(0)).model_dump_json() + "\n").encode()
    end = (EndRecord(reason="end").model_dump_json() + "\n").encode()
    steps = iter([line[:20], line[20:] + end[:5], end[5:]])

    def write_more() -> None:
        with (tmp_path / JOURNAL).open("ab") as file:
            file.write(next(steps))

    follower = Follower(tmp_path)
    assert list(follower.chunks(tick=write_more)) == [record(0)]
    writer.close()


def test_a_source_that_cannot_be_read_says_so_at_once(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path)
    writer.append(EndRecord(reason="source failed", error="a.mp4 is not media"))
    writer.close()
    with pytest.raises(SourceError, match="a.mp4 is not media"):
        Follower(tmp_path).wait_open(60)


def test_nothing_comes(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path)
    with pytest.raises(SpoolError, match="nothing was received within 0.05 s; check that the source is sending"):
        Follower(tmp_path).wait_open(0.05)
    writer.close()


def test_a_dead_writer_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "ORPHAN_S", 0.05)
    writer = JournalWriter(tmp_path)
    writer.append(OPEN)
    writer.append(ChunkLine(chunk=record(0)))
    writer.close()  # what the kernel does for a killed one
    found = []
    with pytest.raises(SpoolError, match=f"the segmenter of {tmp_path.name} died"):
        for chunk in Follower(tmp_path).chunks():
            found.append(chunk)
    assert found == [record(0)]


def test_a_segmenter_that_never_comes_is_waited_for_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that is busy it takes long to start."""
    monkeypatch.setattr(follow, "ORPHAN_S", 0.0)
    late: list[JournalWriter] = []

    def come() -> None:
        writer = JournalWriter(tmp_path)
        late.append(writer)
        writer.append(OPEN)
        writer.append(EndRecord(reason="end of source"))

    looks = iter(range(10_000))
    follower = Follower(tmp_path)
    assert list(follower.chunks(tick=lambda: come() if next(looks) == 3 else None)) == []
    assert follower.opened == OPEN
    late[0].close()
    monkeypatch.setattr(follow, "START_S", 0.05)
    with pytest.raises(SpoolError, match="never started"):
        Follower(tmp_path / "never").wait_open(60)


def test_what_a_dying_writer_wrote_last_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "ORPHAN_S", 0.0)
    writer = JournalWriter(tmp_path)
    writer.append(OPEN)
    # It is dead by the time that the follower looks, but it had come to its end.

    def finish() -> None:
        writer.append(ChunkLine(chunk=record(0)))
        writer.append(EndRecord(reason="end"))
        writer.close()

    dead = once(finish)

    def alive() -> bool:
        dead()
        return False

    assert list(Follower(tmp_path, alive=alive).chunks()) == [record(0)]


def test_a_writer_that_is_replaced_is_no_dead_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "ORPHAN_S", 30.0)
    JournalWriter(tmp_path).close()
    follower = Follower(tmp_path)

    def come_back() -> None:
        writer = JournalWriter(tmp_path)
        writer.append(OPEN)
        writer.append(EndRecord(reason="end of source"))
        writer.close()

    timer = threading.Timer(0.1, come_back)
    timer.start()
    assert follower.wait_open(20) == OPEN
    timer.join()
