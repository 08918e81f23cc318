"""Stored journals are read in order: in parts by a reader that starts late, and line by line at the live edge."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamwave.spool.remote import stored as module
from streamwave.spool.remote.objects import line_name, part_name
from streamwave.spool.remote.stored import PART_LOOK_S, StoredJournals
from streamwave.storage.store import LocalStore


class Counted(LocalStore):
    """Notes what is asked for."""

    asked: list[str]

    def get(self, name: str) -> bytes | None:
        self.asked.append(name)
        return super().get(name)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counted:
    """A session of 25 lines in parts of 10, of which only the last five lie there one by one, and one of a single line."""
    monkeypatch.setattr(module, "PART_LINES", 10)
    found = Counted(tmp_path)
    for part in range(2):
        lines = range(part * 10, part * 10 + 10)
        found.put(part_name("000000", part), b"".join(b"%d\n" % number for number in lines))
    for number in range(20, 25):
        found.put(line_name("000000", number), b"%d" % number)
    found.put(line_name("000001", 0), b"second")
    found.asked = []
    return found


def test_a_late_reader_asks_for_parts_and_then_for_lines(store: Counted) -> None:
    now = 0.0
    journals = StoredJournals(store, lambda: now)
    for number in range(25):
        assert journals.line(is_waiting=False) == journals.line(is_waiting=False) == b"%d" % number
        journals.advance()
    assert len(store.asked) == 2 + 1 + 5
    store.asked.clear()
    assert journals.line(is_waiting=False) is None and journals.line(is_waiting=True) is None
    assert journals.line(is_waiting=True) is None
    line, part = line_name("000000", 25), part_name("000000", 2)
    assert store.asked == [line, part, line, line], "a part is not asked for each time"
    now += PART_LOOK_S
    store.put(part, b"".join(b"%d\n" % number for number in range(20, 30)))
    assert journals.line(is_waiting=True) == b"25"
    journals.next_session()
    assert journals.session == "000001" and journals.sessions == 1
    assert journals.line(is_waiting=False) == b"second"
