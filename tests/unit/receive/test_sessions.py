"""The sessions of a source: the one before ends when its audio has come, and all of them say how they ended."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from threading import Event

import pytest

from streamwave.model import SourceInfo
from streamwave.receive.advisor import Advisor
from streamwave.receive.outcome import Outcome
from streamwave.receive.sessions import Sessions
from streamwave.spool.journal import EndRecord, JournalReader, writer_alive
from streamwave.spool.options import Options

INFO = SourceInfo(url="u", container="flv")


@pytest.fixture
def sessions(tmp_path: Path) -> Sessions:
    return Sessions(Options(source="file:x", spool=tmp_path / "000000", numbered=True), Event(), Advisor(live=False))


def ends(folder: Path) -> list[tuple[str, str | None]]:
    return [(one.reason, one.error) for one in JournalReader(folder).read() if isinstance(one, EndRecord)]


def test_a_source_of_which_nothing_came(sessions: Sessions) -> None:
    (folder,) = sessions.folders()
    assert writer_alive(folder) and not sessions.opened and sessions.current is None
    sessions.end(Outcome("source failed", "it is gone"))
    assert ends(folder) == [("source failed", "it is gone")] and not writer_alive(folder)


def test_without_pictures_no_session_follows(sessions: Sessions) -> None:
    first = sessions.begin(INFO, None, origin=Fraction(5), audio=None, parameters=None)
    assert sessions.current is first and first.origin == 5 and not sessions.opened
    assert sessions.folders() == [first.folder]
    sessions.end_before()
    sessions.complete_before(Fraction(9))
    sessions.end(Outcome("stopped"))
    assert ends(first.folder) == [("stopped", None)]
