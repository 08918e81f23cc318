"""Listing and deleting: at no moment is anything named that is gone, whatever interrupts; nothing of others is touched."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from streamwave.broadcasts import catalog
from streamwave.broadcasts import delete as removal
from streamwave.broadcasts.catalog import Output
from streamwave.errors import OutputError, UsageError
from streamwave.layout import FENCE
from streamwave.manifest.packaged import PackagedChunk
from streamwave.retention import janitor
from streamwave.storage.store import LocalStore, Store
from tests.support.media import make_clip
from tests.support.player import attributes, playlist_addresses, playlist_tags, representations
from tests.support.published import CREATED_MS, PATH, only, packaged, publish

#: A day after the manifests say that they were written.
NOW_MS = time.time_ns() // 1_000_000 + 86_400_000


@pytest.fixture(scope="module")
def chunks(tmp_path_factory: pytest.TempPathFactory) -> list[PackagedChunk]:
    folder = tmp_path_factory.mktemp("chunks")
    return packaged(folder, make_clip(folder / "a.mp4", frames=50, gop=25))


@pytest.fixture(params=["local", "memory"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Output]:
    url = str(tmp_path / "out") if request.param == "local" else f"memory://{tmp_path.name}-{id(request)}/out"
    yield Output(url, {}, tmp_path / "spool")


def failing_after(
    count: int, delete: Callable[[Any, str], None], look: Callable[[Any, str], None] = lambda store, name: None
) -> Callable[[Any, str], None]:
    """``delete`` of a store whose plug is pulled after ``count`` objects; ``look`` is called after each."""
    left = iter(range(count))

    def failing(self: Any, name: str) -> None:
        if next(left, None) is None:
            raise OutputError("the plug was pulled")
        delete(self, name)
        look(self, name)

    return failing


def named(store: Store) -> set[str]:
    """Everything that manifests name now."""
    found: set[str] = set()
    playlists = [name for name in store.names() if name.endswith(".m3u8")]
    for name in playlists:
        text = (store.get(name) or b"").decode()
        tags = playlist_tags(text)
        uris = [attributes(value)["URI"] for tag in ("EXT-X-MAP", "EXT-X-MEDIA") for value in tags.get(tag, [])]
        found |= {*playlist_addresses(text), *uris}
    if isinstance(store, LocalStore) and store.get("manifest.mpd"):
        for representation in representations(store.root).values():
            found |= {segment.name for segment in representation.segments}
    return found


def test_the_list_says_what_there_is(output: Output, chunks: list[PackagedChunk]) -> None:
    publish(output, chunks, chunks)
    publish(output, chunks, path="hall/20260102-000000-0001", finish=False, created_ms=CREATED_MS + 1000)
    hall, stage = catalog.list_broadcasts(output, CREATED_MS + 20_000)
    assert (stage.path, stage.title, stage.state, stage.duration_ms) == (
        PATH,
        "A stage",
        "recorded",
        4011,
    )
    assert stage.renditions == ("large", "small", "audio") and hall.state == "live"
    store = output.store(PATH)
    media = [name for name in store.names() if name.endswith((".m4s", ".mp4"))]
    assert stage.size_bytes == sum(len(store.get(name) or b"") for name in media)
    # Whoever has published nothing for hours does not live any more, unless a spool says so.
    assert catalog.list_broadcasts(output, NOW_MS)[0].state == "cut off"
    (output.spool_dir / hall.path).mkdir(parents=True)
    (output.spool_dir / hall.path / "broadcast.json").write_text("{}")
    assert catalog.list_broadcasts(output, NOW_MS)[0].state == "live"


def test_names(output: Output, chunks: list[PackagedChunk]) -> None:
    publish(output, chunks)
    publish(output, chunks, path="stage/20260102-000000-0001")
    assert only(output, PATH, NOW_MS).path == PATH
    assert only(output, "20260102-000000-0001", NOW_MS).path == "stage/20260102-000000-0001"
    with pytest.raises(UsageError, match="stage matches 2 broadcasts: name one of stage/2026"):
        only(output, "stage", NOW_MS)
    with pytest.raises(UsageError, match="there is no broadcast hall in"):
        only(output, "hall", NOW_MS)


def test_a_live_broadcast_is_refused(output: Output, chunks: list[PackagedChunk]) -> None:
    publish(output, chunks, finish=False)
    before = output.store().names()
    with pytest.raises(UsageError, match="is live: end it first"):
        removal.remove(
            output,
            only(output, PATH, CREATED_MS),
        )
    assert output.store().names() == before


def test_a_recording_whose_fence_is_gone_can_be_deleted(output: Output, chunks: list[PackagedChunk]) -> None:
    publish(output, chunks)
    output.store(PATH).delete(FENCE)
    removal.remove(output, only(output, PATH, NOW_MS))
    assert output.store(PATH).names() == []


def test_everything_goes_and_nothing_else(output: Output, chunks: list[PackagedChunk]) -> None:
    publish(output, chunks, chunks)
    publish(output, chunks, path="stage/20260102-000000-0001")
    root = output.store()
    kept = [name for name in root.names() if not name.startswith(PATH)]
    root.put(f"{PATH}/notes.txt", b"mine")
    count = removal.remove(output, only(output, PATH, NOW_MS))
    assert count == 2 * 3 * 3 + 3 + 3 + 1 + 1 + 1  # media, two MPDs and master, playlists, ledger, fence, entry
    assert root.names() == sorted([*kept, f"{PATH}/notes.txt"])
    listed = json.loads(root.get("broadcasts.json") or b"")["broadcasts"]
    assert [entry["id"] for entry in listed] == ["20260102-000000-0001"]


def test_whenever_it_is_interrupted_nothing_dangles_and_it_can_go_on(
    output: Output, chunks: list[PackagedChunk], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "PARALLEL_DELETES", 1)
    publish(output, chunks)
    total, step = len(output.store(PATH).names()), 0
    kind = type(output.store())
    delete = kind.delete

    def nothing_named_is_gone(store: Store, name: str) -> None:
        existing = set(store.names())
        for one in named(output.store(PATH)):
            assert f"{PATH}/{one}" in existing, f"{one} is named and gone after {name}"

    while True:
        monkeypatch.setattr(kind, "delete", failing_after(step, delete, nothing_named_is_gone))
        found = only(output, PATH, NOW_MS)
        try:
            removal.remove(output, found)
            break
        except OutputError:
            # It is no longer shown, and the next removal finds it.
            assert only(output, PATH, NOW_MS).state == "deleted"
            assert json.loads(output.store().get("broadcasts.json") or b"")["broadcasts"] == []
        monkeypatch.setattr(kind, "delete", delete)
        step += 1 if step < 6 else 3
    assert total > 10 and output.store().names() == ["broadcasts.json"]
    if isinstance(output.store(), LocalStore):
        assert [path.name for path in Path(output.url).iterdir()] == ["broadcasts.json"]


@pytest.mark.parametrize("left", [1, 8, 20, 22])
def test_an_interrupted_removal_of_a_file_goes_on(
    tmp_path: Path, chunks: list[PackagedChunk], monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    """What was transcoded by itself is in no list, but found by the next removal, or by what takes its place."""
    monkeypatch.setattr(removal, "PARALLEL_DELETES", 1)
    output, delete = Output(str(tmp_path / "out"), {}, tmp_path / "spool"), LocalStore.delete
    for then in ("rm", "clean", "transcode"):
        publish(output, chunks)
        shutil.move(tmp_path / "out" / PATH, tmp_path / "out" / "film")
        (tmp_path / "out" / "film" / "broadcast.json").unlink()
        monkeypatch.setattr(LocalStore, "delete", failing_after(left, delete))
        with suppress(OutputError):
            removal.remove(output, only(output, "film", NOW_MS))
        monkeypatch.setattr(LocalStore, "delete", delete)
        if output.store("film").names():
            assert only(output, "film", NOW_MS).state == "deleted"
            if then == "rm":
                removal.remove(output, only(output, "film", NOW_MS))
            elif then == "clean":
                assert "film" in [one.what for one in janitor.clean(output, days=0, now_unix_ms=NOW_MS)]
            else:
                removal.clear(output.store("film"), whole=False)
        assert output.store("film").names() == []


def test_a_damaged_ledger_hides_no_other_broadcast_and_can_be_removed(
    output: Output, chunks: list[PackagedChunk]
) -> None:
    publish(output, chunks)
    half = "stage/20260102-000000-0002"
    publish(output, chunks, path=half, finish=False)
    for path in (PATH, half):
        store = output.store(path)
        store.put("ledger/000000.jsonl", (store.get("ledger/000000.jsonl") or b"")[:-30])
    assert {one.path: one.state for one in catalog.list_broadcasts(output, NOW_MS)} == {
        PATH: "recorded", half: "damaged"
    }  # fmt: skip
    # Nobody is kept from cleaning what is there besides, and what cannot be understood is left alone.
    before = output.store().names()
    assert janitor.clean(output, days=0, now_unix_ms=NOW_MS) == [] and output.store().names() == before
    (damaged,) = [one for one in catalog.list_broadcasts(output, NOW_MS) if one.state == "damaged"]
    removal.remove(output, damaged)
    assert [one.path for one in catalog.list_broadcasts(output, NOW_MS)] == [PATH]
    assert not [name for name in output.store().names() if name.startswith(half)]
