"""Published chunks: from which one on a session is still needed, and which objects are deleted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from streamwave.errors import OutputError
from streamwave.spool.consumed import note_forgotten
from streamwave.spool.remote.progress import Progress
from streamwave.storage.store import LocalStore


class Refusing(LocalStore):
    """A store that refuses to delete what ``refuses`` says."""

    refuses: Callable[[str], bool] = staticmethod(lambda name: False)

    def delete(self, name: str) -> None:
        if self.refuses(name):
            raise OutputError("no")
        super().delete(name)


@pytest.fixture
def store(tmp_path: Path) -> Refusing:
    return Refusing(tmp_path / "store")


@pytest.fixture
def session(tmp_path: Path) -> Path:
    folder = tmp_path / "000000"
    folder.mkdir()
    return folder


def fetch(progress: Progress, store: LocalStore, session: Path, numbers: range) -> None:
    for number in numbers:
        store.put(f"{session.name}/{number}.mkv", b"x")
        progress.fetched(session.name, number, [f"{number}.mkv"])


def test_done_moves_only_over_chunks_without_a_gap(session: Path, store: Refusing) -> None:
    progress = Progress(store, {})
    progress.begin(session)
    fetch(progress, store, session, range(4))
    for number, first in ((1, 0), (2, 0), (0, 3), (3, 4)):
        note_forgotten(session, number)
        progress.note()
        assert progress.done == {"000000": first}
    assert progress.held == 0


def test_a_run_that_goes_on_needs_only_what_its_predecessor_left(session: Path, store: Refusing) -> None:
    progress = Progress(store, {"000000": 5})
    progress.begin(session)
    assert [progress.needs("000000", number) for number in (4, 5)] == [False, True]
    assert progress.needs("000001", 0)
    note_forgotten(session, 3)  # published before
    progress.note()
    assert progress.done == {"000000": 5}


def test_objects_that_the_store_refuses_to_delete_are_deleted_next_time(session: Path, store: Refusing) -> None:
    progress = Progress(store, {})
    progress.begin(session)
    fetch(progress, store, session, range(3))
    for number in (0, 1):
        note_forgotten(session, number)
    store.refuses = lambda name: name.endswith("1.mkv")
    with pytest.raises(OutputError):
        progress.forget()
    assert [store.exists(f"000000/{number}.mkv") for number in range(3)] == [False, True, True]
    store.refuses = lambda name: False
    progress.forget()
    assert [store.exists(f"000000/{number}.mkv") for number in range(3)] == [False, False, True]
