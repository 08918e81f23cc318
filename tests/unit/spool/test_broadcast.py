"""Broadcasts in the spool: who may add a session, what a damaged description costs, when a session has ended."""

from __future__ import annotations

import logging
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import pytest

from streamwave.errors import SpoolError
from streamwave.model import ChunkRecord, SourceInfo
from streamwave.spool import broadcast as module
from streamwave.spool import follow
from streamwave.spool.broadcast import (
    INFO,
    BroadcastSpool,
    StreamLiveError,
    abandoned,
    broadcasts,
    open_session,
    session_ended_unix_ms,
)
from streamwave.spool.journal import JOURNAL, LOCK, ChunkLine, EndRecord, JournalReader, JournalWriter, OpenRecord

OPEN = OpenRecord(source=SourceInfo(url="u", container="flv"), rate=Fraction(25), sample_rate=None, origin_unix_ms=5)
CHUNK = ChunkLine(chunk=ChunkRecord(number=0, video_file="000000.mkv", start_ms=0, next_ms=2000, pictures=50))


def opened(root: Path, owner: str | None = "ingest", title: str = "") -> tuple[BroadcastSpool, Path]:
    return open_session(root, "cam", output="/out", window_ms=60_000, owner=owner, title=title)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def test_a_publisher_comes_back_before_its_old_session_has_drained(tmp_path: Path) -> None:
    spool, first = opened(tmp_path)
    writer = JournalWriter(first)
    again, second = opened(tmp_path)
    assert (again.folder, second.name) == (spool.folder, "000001")
    writer.close()


@pytest.mark.parametrize(("first", "second"), [("ingest", "processing"), ("processing", "ingest"), ("ingest", None)])
def test_a_stream_has_one_owner_at_a_time(tmp_path: Path, first: str, second: str | None) -> None:
    spool, session = opened(tmp_path, first)
    with pytest.raises(StreamLiveError, match="cam is live from another source"):
        opened(tmp_path, second)  # its segmenter is just being started
    writer = JournalWriter(session)
    with pytest.raises(StreamLiveError):
        opened(tmp_path, second)
    assert [found.sessions() for found in broadcasts(tmp_path)] == [[session]]
    writer.append(EndRecord(reason="stopped", ended_unix_ms=now_ms()))
    writer.close()
    assert opened(tmp_path, second)[1] == spool.folder / "000001"


def test_of_two_owners_at_once_one_gets_the_stream(tmp_path: Path) -> None:
    def attempt(owner: str) -> str:
        try:
            opened(tmp_path, owner)
        except StreamLiveError:
            return ""
        return owner

    with ThreadPoolExecutor(16) as pool:
        got = {owner for owner in pool.map(attempt, ["ingest", "processing"] * 20) if owner}
    assert len(got) == 1


def test_a_damaged_description_costs_neither_what_was_received_nor_the_stream(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool, session = opened(tmp_path, title="A title")
    writer = JournalWriter(session)
    for line in (OPEN, CHUNK, EndRecord(reason="stopped", ended_unix_ms=now_ms())):
        writer.append(line)
    writer.close()
    before = spool.info()
    whole = (spool.folder / INFO).read_bytes()
    (spool.folder / INFO).write_bytes(whole[: whole.index(b'"title"') + 3])
    with pytest.raises(SpoolError):
        spool.info()
    with caplog.at_level(logging.WARNING):
        again, second = open_session(tmp_path, "cam", output="/elsewhere", window_ms=60_000, owner="ingest")
    assert second == spool.folder / "000001"
    # Where its first chunks are is still to be read.
    assert again.info() == before.model_copy(update={"title": "", "created_unix_ms": again.info().created_unix_ms})
    assert abs(again.info().created_unix_ms - before.created_unix_ms) < 1000
    assert "broadcast.json was damaged" in caplog.text
    assert JournalReader(session).read()[:2] == [OPEN, CHUNK]
    assert (spool.folder / "broadcast.json.damaged").read_bytes() == whole[: whole.index(b'"title"') + 3]


@pytest.mark.parametrize("left", [b"", b"\0" * 300, b"[]", b'{"output": 7}'])
def test_a_description_of_which_nothing_is_left(tmp_path: Path, left: bytes) -> None:
    spool, _ = opened(tmp_path)
    (spool.folder / INFO).write_bytes(left)
    info = spool.restore("/out/", 5000)
    assert (info, info.output) == (spool.info(), f"/out/cam/{spool.broadcast}")
    assert info.reconnect_window_ms == 5000


def test_one_that_cannot_be_mended_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool, _ = opened(tmp_path)
    (spool.folder / INFO).unlink()
    (spool.folder / INFO).mkdir()
    again, session = opened(tmp_path)
    assert again.folder != spool.folder
    assert session.name == "000000"
    assert f"cam/{spool.broadcast} is skipped" in caplog.text


@pytest.mark.parametrize("left", [None, b"", b'{"stream": "cam", "output": "/out/cam/x", "recon'])
def test_a_killed_run_is_completed_though_its_description_is_damaged(tmp_path: Path, left: bytes | None) -> None:
    """Another one that cannot be mended is left out: neither prevents the next run."""
    spool, session = open_session(tmp_path, "cam", output="/out", window_ms=0)
    (session / "source.sha256").touch()
    if left is not None:
        (spool.folder / INFO).write_bytes(left)
    other = tmp_path / "cam" / "20260101-000000-abcd"
    (other / INFO).mkdir(parents=True)
    assert [found.folder for found in abandoned(tmp_path, "cam", "/out")] == [spool.folder]
    assert spool.info().reconnect_window_ms == 0 and spool.info().output.startswith("/out/cam/")
    serviced, _ = open_session(tmp_path / "other", "cam", output="/out", window_ms=60_000)
    assert abandoned(tmp_path / "other", "cam", "/out") == []  # the processing service completes it


def test_a_description_reaches_the_disk_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    sync, replace = os.fsync, Path.replace

    def note_sync(handle: int) -> None:
        name = Path(os.readlink(f"/proc/self/fd/{handle}")).name
        steps.append("sync the new one" if name.startswith(f".{INFO}.") else f"sync {name}")
        sync(handle)

    def note_replace(self: Path, target: Path) -> Path:
        steps.append(f"name {target.name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_replace)
    spool, _ = opened(tmp_path)
    assert steps[:3] == ["sync the new one", f"name {INFO}", f"sync {spool.broadcast}"]


def test_the_end_of_a_session_is_found_without_reading_all_of_it(tmp_path: Path) -> None:
    """A day of stream is 40,000 lines, and the question comes twice a second: only the last line is looked at."""
    writer = JournalWriter(tmp_path)
    writer.append(OPEN)
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(b"what stands here is never read\n" * 10_000)
    writer.append(CHUNK)
    assert session_ended_unix_ms(tmp_path) is None
    writer.append(EndRecord(reason="end of source", ended_unix_ms=77))
    writer.close()
    assert session_ended_unix_ms(tmp_path) == 77
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(b'{"type":"chu')
    assert session_ended_unix_ms(tmp_path) == 77


def test_a_session_whose_segmenter_is_slow_to_start_has_not_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "ORPHAN_S", 0.0)
    assert session_ended_unix_ms(tmp_path) is None
    (tmp_path / LOCK).touch()  # it was there, and is gone
    time.sleep(0.01)
    assert session_ended_unix_ms(tmp_path) is not None
    (tmp_path / LOCK).unlink()
    monkeypatch.setattr(follow, "START_S", 0.0)
    time.sleep(0.01)
    assert session_ended_unix_ms(tmp_path) is not None


def test_who_hangs_while_opening_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OPENING_LIMIT_S", 0.05)
    with module._opening(tmp_path), pytest.raises(SpoolError, match="opening.lock for too long"):
        opened(tmp_path)


NOW = 1_790_000_000_000


def test_the_names_of_broadcasts_of_the_same_second_are_in_order(tmp_path: Path) -> None:
    made = []
    for now in (NOW, NOW, NOW, NOW + 1, NOW + 900, NOW + 2500, NOW + 20_000, NOW + 20_000):
        spool, _ = open_session(tmp_path, "cam", output="out", window_ms=0, now_unix_ms=now)
        made.append(spool.broadcast)
        assert spool.info().created_unix_ms == now
        spool.mark_finished()
    assert made == sorted(made) and len({name[:15] for name in made}) == len(made)
    assert [spool.broadcast for spool in broadcasts(tmp_path, "cam")] == made
    # A clock that was wrong by an hour does not spoil the names for an hour.
    later, _ = open_session(tmp_path, "cam", output="out", window_ms=0, now_unix_ms=NOW - 3_600_000)
    assert later.broadcast < made[0]


def test_a_finished_broadcast_knows_its_sessions_when_their_spools_are_gone(tmp_path: Path) -> None:
    spool, first = opened(tmp_path)
    writer = JournalWriter(first)
    writer.append(EndRecord(reason="stopped", ended_unix_ms=now_ms()))
    writer.close()
    _, second = opened(tmp_path)
    assert spool.session_names() == ["000000", "000001"]
    spool.mark_finished()
    for session in (first, second):
        shutil.rmtree(session)
    spool.mark_finished()  # whoever cleans up after a crash does so again
    assert spool.session_names() == ["000000", "000001"]
