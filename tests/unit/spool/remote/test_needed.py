"""The chunks that a run still needs: all from the first one that it has not published."""

from __future__ import annotations

from pathlib import Path

from streamwave.spool.consumed import note_forgotten
from streamwave.spool.remote.needed import NeededChunks


def test_chunks_that_are_published_out_of_order(tmp_path: Path) -> None:
    session = tmp_path / "000001"
    session.mkdir()
    needed = NeededChunks({"000000": 4, "000001": 2})
    needed.watch(session)
    for number in range(2, 6):
        assert needed.needs("000001", number)
        needed.add("000001", number, [f"000001/{number}.mkv"])
    for number in (4, 3):
        note_forgotten(session, number)
    needed.note()
    assert needed.done == {"000000": 4, "000001": 2} and needed.here == 2
    assert needed.deletable == ["000001/3.mkv", "000001/4.mkv"]
    note_forgotten(session, 2)
    needed.note()
    assert needed.done == {"000000": 4, "000001": 5} and needed.here == 1
    assert not needed.needs("000001", 4) and needed.needs("000001", 5) and needed.needs("000002", 0)
    for name in needed.deletable:
        needed.deleted(name)
    note_forgotten(session, 3)  # again, by another thread of the run
    needed.note()
    assert needed.deletable == [] and needed.done["000001"] == 5
