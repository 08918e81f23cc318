"""Where a chunk belongs, and what it adds to the ledger and the store."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from streamwave.errors import MediaError
from streamwave.manifest.ledger import Ledger
from streamwave.manifest.lines import ChunkLine, PeriodLine
from streamwave.publish.additions import Addition, addition_of, next_chunk, place
from streamwave.storage.store import LocalStore
from tests.support.broadcast import HEADER, chunk


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Two sessions: ``one`` is complete, of ``two`` chunk 3 is published; the wall clock is that of HEADER."""
    found = Ledger(LocalStore(tmp_path / "out"))
    found.append(HEADER, save=False)
    for session, number in (("one", 0), ("two", 3)):
        added = addition_of(found, chunk(tmp_path, number), session, f"p-{session}", None)
        assert added is not None
        found.append(*added.lines, save=False)
    return found


def test_the_next_chunk_of_each_session(ledger: Ledger) -> None:
    assert [next_chunk(ledger, session) for session in ("one", "two", "three")] == [None, 4, 0]
    assert [place(ledger, "two", number) for number in (3, 4, 5)] == ["published", "next", "later"]
    assert place(ledger, "one", 9) == "published" and place(ledger, "three", 9) == "next"


def test_a_chunk_adds_its_segments_and_the_first_one_a_period(ledger: Ledger, tmp_path: Path) -> None:
    following = addition_of(ledger, chunk(tmp_path, 4), "two", "unused", None)
    assert following is not None and [type(line) for line in following.lines] == [ChunkLine]
    assert [name for name, _ in following.objects] == ["p-two/360p/200000.m4s", "p-two/audio/385024.m4s"]
    assert following.objects[1][1]() == b"audio 4 " * 50
    first = addition_of(ledger, chunk(tmp_path, 0), "three", "p-three", HEADER.created_unix_ms + 90_000)
    assert first is not None
    opening, _ = first.lines
    assert isinstance(opening, PeriodLine) and opening.start == Fraction(90)
    assert (opening.name, opening.first_chunk) == ("p-three", 0)
    assert [name for name, _ in first.objects] == [
        f"p-three/{rendition}/{name}" for rendition in ("360p", "audio") for name in ("init.mp4", "0.m4s")
    ]


@pytest.mark.parametrize("wall_s", [None, -5, 1])
def test_a_period_never_begins_before_the_end_of_the_one_before(
    ledger: Ledger, tmp_path: Path, wall_s: int | None
) -> None:
    wall_unix_ms = None if wall_s is None else HEADER.created_unix_ms + wall_s * 1000
    added = addition_of(ledger, chunk(tmp_path, 0), "three", "p", wall_unix_ms)
    assert added is not None and isinstance(added.lines[0], PeriodLine) and ledger.timeline is not None
    assert added.lines[0].start == ledger.timeline.duration


def test_the_last_chunk_again_adds_nothing(ledger: Ledger, tmp_path: Path) -> None:
    assert addition_of(ledger, chunk(tmp_path, 3), "two", "p", None) is None


@pytest.mark.parametrize(
    ("number", "session", "init", "message"),
    [
        (5, "two", b"init", "chunk 5 cannot be published yet: chunk 4 is the next one"),
        (2, "two", b"init", "chunk 2 cannot be published yet: chunk 4 is the next one"),
        (4, "two", b"other", "chunk 4 was encoded with other settings than the chunks before it"),
        (1, "one", b"init", "session one cannot be continued, because a later one has begun"),
    ],
)
def test_a_chunk_that_does_not_fit(
    ledger: Ledger, tmp_path: Path, number: int, session: str, init: bytes, message: str
) -> None:
    def add() -> Addition | None:
        return addition_of(ledger, chunk(tmp_path, number, init=init), session, "p", None)

    with pytest.raises(MediaError, match=message):
        add()
