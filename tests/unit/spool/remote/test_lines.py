"""The next line of a journal in a store: from a part for a run that starts late, else from an object of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamwave.spool.remote import lines
from streamwave.spool.remote.lines import JournalLines
from streamwave.spool.remote.objects import line_name, part_name
from streamwave.storage.store import LocalStore


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
    monkeypatch.setattr(lines, "PART_LINES", 3)
    return LocalStore(tmp_path)


def put(store: LocalStore, session: str, numbers: range) -> None:
    for number in numbers:
        store.put(line_name(session, number), b"%d" % number)


def read(journal: JournalLines) -> list[bytes]:
    """All lines that are there now."""
    found = []
    while (line := journal.peek(waiting=False)) is not None:
        assert journal.peek(waiting=False) == line, "a line stays until it is taken"
        found.append(line)
        journal.advance()
    return found


def test_old_lines_come_from_parts_and_new_ones_from_their_objects(store: LocalStore) -> None:
    store.put(part_name("000000", 0), b"0\n1\n2\n")
    put(store, "000000", range(3, 5))
    journal = JournalLines(store)
    assert read(journal) == [b"0", b"1", b"2", b"3", b"4"]
    put(store, "000000", range(5, 6))
    assert read(journal) == [b"5"]


def test_a_reader_that_waits_finds_lines_that_only_a_part_still_holds(store: LocalStore) -> None:
    put(store, "000000", range(1))
    journal = JournalLines(store)
    assert read(journal) == [b"0"]
    store.delete(line_name("000000", 0))
    store.put(part_name("000000", 0), b"0\n1\n2\n")
    assert journal.peek(waiting=False) is None
    assert journal.peek(waiting=True) == b"1"
    assert read(journal) == [b"1", b"2"]


def test_the_next_session_begins_with_its_first_line(store: LocalStore) -> None:
    put(store, "000000", range(2))
    put(store, "000001", range(1))
    journal = JournalLines(store)
    assert (journal.session, journal.sessions) == ("000000", 0)
    read(journal)
    journal.next_session()
    assert (journal.session, journal.sessions) == ("000001", 1)
    assert read(journal) == [b"0"]
