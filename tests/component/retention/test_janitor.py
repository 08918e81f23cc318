"""The janitor finds everything that crashes leave, and never touches what a manifest or a live ledger names."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from pathlib import Path

import pytest

from streamwave.broadcasts import catalog
from streamwave.broadcasts import delete as removal
from streamwave.broadcasts.catalog import Output
from streamwave.broadcasts.check import check_entry
from streamwave.errors import OutputError
from streamwave.manifest.packaged import PackagedChunk
from streamwave.retention import janitor
from streamwave.spool.broadcast import BroadcastSpool, open_session
from streamwave.spool.journal import JournalWriter
from streamwave.storage.store import LocalStore, open_store
from streamwave.verify import verify_broadcast
from tests.support.media import make_clip
from tests.support.published import PATH, only, packaged, publish

DAY_MS = janitor.DAY_MS
NOW_MS = time.time_ns() // 1_000_000


@pytest.fixture(scope="module")
def chunks(tmp_path_factory: pytest.TempPathFactory) -> list[PackagedChunk]:
    folder = tmp_path_factory.mktemp("chunks")
    return packaged(folder, make_clip(folder / "a.mp4", frames=50, gop=25))


@pytest.fixture
def output(tmp_path: Path) -> Output:
    (tmp_path / "spool").mkdir()
    return Output(str(tmp_path / "out"), {}, tmp_path / "spool")


def cleaned(output: Output, *, days: int = 0, now_ms: int = NOW_MS, dry_run: bool = False) -> list[tuple[str, str]]:
    done = janitor.clean(output, days=days, now_unix_ms=now_ms, dry_run=dry_run)
    assert [one.trouble for one in done if one.trouble] == []
    return [(one.what, one.why) for one in done]


def name(days_ago: int) -> str:
    return f"stage/{time.strftime('%Y%m%d-%H%M%S', time.gmtime(NOW_MS // 1000 - days_ago * 86400))}-0000"


def ended(output: Output, path: str, unix_ms: int) -> None:
    """Make the entry say that the broadcast ended then."""
    store = output.store(path)
    store.put("broadcast.json", json.dumps(catalog.read_entry(store) | {"ended_unix_ms": unix_ms}).encode())


def test_recordings_go_after_their_days(output: Output, chunks: list[PackagedChunk]) -> None:
    for days in (1, 5, 9):
        publish(output, chunks, path=name(days), created_ms=NOW_MS - days * DAY_MS - 10_000)
        ended(output, name(days), NOW_MS - days * DAY_MS)
    publish(output, chunks, path="stage/20200101-000000-0000", finish=False)  # live by its manifest
    publish(
        output, chunks, path="stage/20990101-000000-0000", created_ms=NOW_MS + 90 * DAY_MS
    )  # by a clock that was wrong
    before = output.store().names()
    assert cleaned(output) == [] and cleaned(output, days=30) == []
    assert cleaned(output, days=5, dry_run=True) == [(name(9), "ended more than 5 days ago")]
    assert [n for n in output.store().names() if n in before] == before
    assert cleaned(output, days=5) == [(name(9), "ended more than 5 days ago")]
    # A clock that runs backwards makes nothing older.
    assert cleaned(output, days=1, now_ms=NOW_MS - 30 * DAY_MS) == []
    left = {one.path for one in catalog.list_broadcasts(output, NOW_MS)}
    assert left == {name(1), name(5), "stage/20200101-000000-0000", "stage/20990101-000000-0000"}
    for path in left:
        assert verify_broadcast(output.store(path), decode=False).findings == []
    listed = json.loads(output.store().get("broadcasts.json") or b"")["broadcasts"]
    assert {f"stage/{entry['id']}" for entry in listed} == left


def test_a_removal_that_broke_off_is_completed(
    output: Output, chunks: list[PackagedChunk], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(output, chunks)
    delete, left = LocalStore.delete, 8

    def failing(self: LocalStore, name: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OutputError("the plug was pulled")
        delete(self, name)

    monkeypatch.setattr(LocalStore, "delete", failing)
    with pytest.raises(OutputError):
        removal.remove(output, only(output, PATH, NOW_MS))
    monkeypatch.setattr(LocalStore, "delete", delete)
    assert len(output.store(PATH).names()) > 3
    assert cleaned(output) == [(PATH, "its deletion was interrupted")]
    assert output.store().names() == ["broadcasts.json"] and cleaned(output) == []


def test_what_no_ledger_names(output: Output, chunks: list[PackagedChunk]) -> None:
    """Objects of a chunk that a run was killed over, and whose session was then given up."""
    publish(output, chunks)
    ended(output, PATH, NOW_MS - 60_000)
    publish(output, chunks, path="stage/20260102-000000-0001", finish=False)
    for path in (PATH, "stage/20260102-000000-0001"):
        for extra in ("p0/large/999000.m4s", "p7/small/0.m4s", "p7/small/init.mp4", "notes.txt"):
            output.store(path).put(extra, b"x")
    assert cleaned(output) == [(f"{PATH}/p0/large/999000.m4s", "3 media objects that its ledger does not name")]
    names = output.store().names()
    # Not those of a live broadcast, whose run may be about to name them, and nothing that is not ours.
    assert {n for n in names if n.startswith(PATH) and ("999000" in n or "p7" in n)} == set()
    assert f"{PATH}/notes.txt" in names and "stage/20260102-000000-0001/p7/small/0.m4s" in names
    assert verify_broadcast(output.store(PATH), decode=False).findings == []
    assert cleaned(output) == []


def test_a_recording_that_cannot_be_read_keeps_no_other_from_being_cleaned(
    output: Output, chunks: list[PackagedChunk]
) -> None:
    """As one that somebody has restored as another user."""
    publish(output, chunks, path=name(1))
    publish(output, chunks, path=name(9))
    store = output.store(name(1))
    store.delete("ledger/000000.jsonl")
    (Path(output.url) / name(1) / "ledger" / "000000.jsonl").mkdir()
    with pytest.raises(OutputError):
        store.get("ledger/000000.jsonl")
    ended(output, name(9), NOW_MS - 9 * DAY_MS)
    ended(output, name(1), NOW_MS - DAY_MS)
    store.put("p7/small/0.m4s", b"x")
    assert cleaned(output, days=7)[0][0] == name(9)


def test_temporary_files_of_writers_that_were_killed(output: Output, chunks: list[PackagedChunk]) -> None:
    publish(output, chunks, finish=False)
    root = Path(output.url)
    old = [".broadcasts.json.0123abcd", f"{PATH}/p0/large/.50000.m4s.0123abcd", f"{PATH}/ledger/.000000.jsonl.0123abcd"]
    kept = [f"{PATH}/p0/large/.75000.m4s.ffff0000", f"{PATH}/.htaccess"]  # is being written; somebody else's
    for one in (*old, *kept):
        (root / one).write_bytes(b"half")
    for one in (*old, kept[1]):
        os.utime(root / one, (NOW_MS / 1000 - 4000,) * 2)
    assert {what for what, _ in cleaned(output)} == {*old}
    assert all((root / one).exists() for one in kept) and not any((root / one).exists() for one in old)


def test_the_spool(output: Output) -> None:
    spool, session = open_session(output.spool_dir, "stage", output=output.url, window_ms=0)
    (session / "000000.mkv").write_bytes(b"received")
    assert cleaned(output) == []  # not published yet
    spool.mark_finished()
    held = spool.hold_run()
    assert held is not None and cleaned(output) == []  # its run is about to clean up by itself
    held.close()
    writer = JournalWriter(session)
    assert cleaned(output) == []  # a segmenter still writes
    writer.close()
    assert cleaned(output) == [(str(session), "its broadcast is finished")] and spool.finished
    assert cleaned(output, now_ms=NOW_MS + 2 * DAY_MS) == [(str(spool.folder), "its broadcast is finished")]
    assert [path for path in output.spool_dir.iterdir() if path.is_dir()] == []
    (output.spool_dir / "stage" / "20260101-000000-0000").mkdir(parents=True)
    assert cleaned(output) == []
    assert len(cleaned(output, now_ms=NOW_MS + DAY_MS)) == 1


def test_the_list_follows_what_was_moved_restored_or_deleted_by_hand(
    output: Output, chunks: list[PackagedChunk]
) -> None:
    for path in (name(3), name(2), name(1)):
        publish(output, chunks, path=path)
    root = Path(output.url)
    (root / "archive").mkdir()
    (root / name(3)).rename(root / "archive" / "old")
    shutil.rmtree(root / name(2))
    restored = "hall/20260101-000000-0000"
    shutil.copytree(root / name(1), root / restored)
    assert cleaned(output, dry_run=True) == cleaned(output) == [("broadcasts.json", "outdated")]
    listed = json.loads((root / "broadcasts.json").read_bytes())["broadcasts"]
    assert {one["manifest"] for one in listed} == {
        f"{path}/manifest.mpd" for path in ("archive/old", name(1), restored)
    }
    assert all((root / one["manifest"]).exists() and (root / one["hls"]).exists() for one in listed)
    assert check_entry(output.store(), output.store(restored), restored, live=False) == []
    assert cleaned(output) == []
    (root / "broadcasts.json").write_bytes(b"{")
    assert len(cleaned(output)) == 1 and cleaned(output) == []


def test_what_others_keep_where_the_spool_is_stays(output: Output, tmp_path: Path) -> None:
    """Somebody may point the spool to a folder, or to a bucket, that is not his alone."""
    url = f"memory://{tmp_path.name}"
    store, later_ms = open_store(url), NOW_MS + 2 * DAY_MS
    theirs = ["photos/2025/a.jpg", "backups/20260101/db.gz", "film/a/manifest.mpd", "Films/20260101-000000-0000/a.mp4"]
    for one in theirs:
        store.put(one, b"x")
        (output.spool_dir / one).parent.mkdir(parents=True)
        (output.spool_dir / one).write_bytes(b"x")
    store.put("stage/20260101-000000-0000/run.json", b"{}")
    (output.spool_dir / "stage" / "20260101-000000-0000").mkdir(parents=True)
    done = janitor.clean(output, days=0, now_unix_ms=later_ms, spool=janitor.SpoolPlace(url, {}))
    assert [(Path(one.what).name, one.trouble) for one in done] == [("20260101-000000-0000", None)] * 2
    assert store.names() == sorted(theirs) and all((output.spool_dir / one).exists() for one in theirs)


def test_what_cannot_be_removed_is_told_and_the_rest_goes(
    output: Output, chunks: list[PackagedChunk], monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (name(8), name(9)):
        publish(output, chunks, path=path, created_ms=NOW_MS - 20 * DAY_MS)
        ended(output, path, NOW_MS - 10 * DAY_MS)
    delete = LocalStore.delete

    def failing(self: LocalStore, one: str) -> None:
        if name(8) in one:
            raise OutputError("not allowed")
        delete(self, one)

    monkeypatch.setattr(LocalStore, "delete", failing)
    done = janitor.clean(output, days=5, now_unix_ms=NOW_MS)
    assert {(one.what, one.trouble) for one in done} == {(name(8), "not allowed"), (name(9), None)}
    assert not (Path(output.url) / name(9)).exists()


@pytest.mark.parametrize("seed", range(6))
def test_nothing_that_is_named_ever_goes(output: Output, chunks: list[PackagedChunk], seed: int) -> None:
    """Broadcasts in every state, with rubbish among them and a clock that jumps: what plays before plays afterwards."""
    chance = random.Random(seed)
    playing: dict[str, bool] = {}
    for number in range(5):
        path, days = f"s{number}/20260101-000000-000{number}", chance.randint(0, 9)
        finish = chance.random() < 0.7
        sessions = [chunks] * chance.randint(1, 2)
        window = chance.choice([None, 1000])
        publish(output, *sessions, path=path, finish=finish, created_ms=NOW_MS - days * DAY_MS, dvr_window_ms=window)
        if finish:
            ended(output, path, NOW_MS - days * DAY_MS)
        elif chance.random() < 0.5:
            folder = output.spool_dir / path
            folder.mkdir(parents=True)
            (folder / "broadcast.json").write_text("{}")
            assert not BroadcastSpool(folder).finished
        playing[path] = finish and days > 5
        for extra in ("p0/large/7.m4s", "p9/large/0.m4s", f"ledger/.000000.jsonl.{number:08x}"):
            if chance.random() < 0.5:
                file = Path(output.url) / path / extra
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(b"rubbish")
    for _ in range(3):
        janitor.clean(output, days=chance.choice([0, 5, 5]), now_unix_ms=NOW_MS - chance.choice([0, 0, 1, 40]) * DAY_MS)
        for path, outdated in playing.items():
            store = output.store(path)
            if outdated and store.get("manifest.mpd") is None:
                assert store.names() == []
            else:
                assert verify_broadcast(store, decode=False).findings == []


def test_an_output_that_does_not_exist_yet(output: Output) -> None:
    assert cleaned(output) == [] and not Path(output.url).exists()


def test_what_has_just_left_the_window_of_a_recording_is_kept_for_those_who_hold_an_older_manifest(
    output: Output, chunks: list[PackagedChunk]
) -> None:
    publish(output, chunks)
    ended(output, PATH, NOW_MS)
    store = output.store(PATH)
    store.put("p0/large/900000000.m4s", b"left")
    assert cleaned(output, now_ms=NOW_MS + 2500) == []
    assert cleaned(output, now_ms=NOW_MS + 3500) == [
        (f"{PATH}/p0/large/900000000.m4s", "1 media object that its ledger does not name")
    ]
