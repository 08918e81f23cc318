"""Publishing: at no moment, and after no crash, is anything named that is not there; two runs never mix."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from lxml import etree

from streamwave.errors import FencedError, MediaError, OutputError
from streamwave.layout import FENCE, LIVE_MANIFEST, MANIFEST, MASTER, is_broadcast_object
from streamwave.manifest.ledger import Ledger
from streamwave.publish.publication import Publication
from streamwave.storage.store import LocalStore
from tests.support.broadcast import HEADER, chunk
from tests.support.player import MPD_NS, attributes, playlist_addresses, playlist_tags, representations, timeline

CHUNKS = 2


class WatchedStore(LocalStore):
    """Notes the order of puts, breaks down at one of them, and looks at what a reader would find after each."""

    def __init__(self, root: Path, breaks_at: int | None = None) -> None:
        super().__init__(root)
        self.order: list[str] = []
        self._breaks_at = breaks_at
        self._lock = threading.Lock()

    def put(self, name: str, data: bytes) -> None:
        with self._lock:
            self.order.append(name)
            if self._breaks_at is not None and len(self.order) > self._breaks_at:
                raise OutputError("the plug was pulled")
            super().put(name, data)
            whole(self.root)


def whole(root: Path) -> None:
    """Everything that is named exists and has the size that is promised; fails otherwise."""
    if (root / MANIFEST).exists():
        for representation in representations(root).values():
            assert representation.init
    for playlist in root.glob("*.m3u8"):
        text = playlist.read_text()
        maps = [attributes(value)["URI"] for value in playlist_tags(text).get("EXT-X-MAP", [])]
        for address in [*playlist_addresses(text), *maps]:
            assert (root / address).is_file(), f"{playlist.name} names {address}"
    timeline = Ledger.load(LocalStore(root)).timeline
    for period in timeline.periods if timeline else []:
        for name, track in period.tracks.items():
            for segment in track.segments:
                assert (root / period.name / name / f"{segment.time}.m4s").stat().st_size == segment.size


def publish_all(store: LocalStore, work: Path, *, manifests: bool, token: str = "first") -> Publication:
    """What a run does from where the ledger ends."""
    publication = Publication(store, manifests=manifests, token=token)
    try:
        publication.begin(HEADER)
        for number in range(publication.next_chunk("file") or 0, CHUNKS):
            publication.publish(chunk(work, number), "file", "p0")
        publication.finish()
    finally:
        publication.close()
    return publication


def tree(root: Path) -> dict[str, bytes]:
    """Every file but the fence."""
    files = {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    return {name: data for name, data in files.items() if name != FENCE}


def test_segments_then_manifests_then_ledger(tmp_path: Path) -> None:
    store = WatchedStore(tmp_path / "out")
    publish_all(store, tmp_path / "work", manifests=True)
    assert store.order[:2] == [FENCE, "ledger/000000.jsonl"]
    rest, manifests = store.order[2:], {"360p.m3u8", "audio.m3u8"}
    first = rest[: rest.index("ledger/000000.jsonl") + 1]
    assert set(first[:4]) == {"p0/360p/init.mp4", "p0/audio/init.mp4", "p0/360p/0.m4s", "p0/audio/0.m4s"}
    assert set(first[4:6]) == manifests and first[6:] == [MASTER, MANIFEST, "ledger/000000.jsonl"]
    second = rest[len(first) : len(first) + 7]
    assert set(second[:2]) == {"p0/360p/50000.m4s", "p0/audio/96256.m4s"}
    assert set(second[2:4]) == manifests and second[4:] == [MASTER, MANIFEST, "ledger/000000.jsonl"]
    assert rest[-3:] == [MASTER, MANIFEST, "ledger/000000.jsonl"]
    assert b'type="static"' in (tmp_path / "out" / MANIFEST).read_bytes()


def test_a_file_is_watchable_when_it_is_complete(tmp_path: Path) -> None:
    store = WatchedStore(tmp_path / "out")
    publish_all(store, tmp_path / "work", manifests=False)
    assert store.order.count(MANIFEST) == store.order.count(MASTER) == 1
    assert store.order[-3:] == [MASTER, MANIFEST, "ledger/000000.jsonl"]


@pytest.mark.parametrize("manifests", [True, False], ids=["live", "file"])
def test_whenever_it_breaks_off_the_next_run_completes_it(tmp_path: Path, manifests: bool) -> None:
    calm = WatchedStore(tmp_path / "calm")
    publish_all(calm, tmp_path / "work", manifests=manifests)
    expected = media_of(tree(tmp_path / "calm"))
    for step in range(len(calm.order)):
        root = tmp_path / str(step)
        with pytest.raises(OutputError, match="the plug was pulled"):
            publish_all(WatchedStore(root, breaks_at=step), tmp_path / "work", manifests=manifests)
        if root.exists():
            whole(root)
        publish_all(WatchedStore(root), tmp_path / "work", manifests=manifests, token="second")
        whole(root)
        assert media_of(tree(root)) == expected, f"broken off at {calm.order[step]}"


def media_of(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name.startswith("p0/") or name.endswith(".m3u8")}


@pytest.mark.parametrize("manifests", [True, False], ids=["live", "file"])
def test_whenever_it_breaks_off_the_same_run_can_try_again(tmp_path: Path, manifests: bool) -> None:
    """A store task that is retried, and the very last manifest, which must not get lost."""
    calm = WatchedStore(tmp_path / "calm")
    publish_all(calm, tmp_path / "work", manifests=manifests)
    for step in range(2, len(calm.order)):
        store = WatchedStore(tmp_path / str(step), breaks_at=step)
        publication = Publication(store, manifests=manifests, token="first")
        publication.begin(HEADER)

        def twice(action: object, *arguments: object, store: WatchedStore = store) -> None:
            try:
                action(*arguments)  # type: ignore[operator]
            except OutputError:
                store._breaks_at = None
                action(*arguments)  # type: ignore[operator]

        for number in range(CHUNKS):
            twice(publication.publish, chunk(tmp_path / "work", number), "file", "p0")
        twice(publication.finish)
        publication.close()
        assert store._breaks_at is None
        # All but the moment of publishing, which a finished stream does not tell.
        assert tree(tmp_path / str(step)) == tree(tmp_path / "calm"), f"broken off at {calm.order[step]}"


def test_publishing_the_last_chunk_twice_is_harmless(tmp_path: Path) -> None:
    store = WatchedStore(tmp_path / "out")
    publication = Publication(store, manifests=True, token="t")
    publication.begin(HEADER)
    publication.publish(chunk(tmp_path / "work", 0), "file", "p0")
    before, count = tree(tmp_path / "out"), len(store.order)
    publication.publish(chunk(tmp_path / "work", 0), "file", "p0")
    assert tree(tmp_path / "out") == before and len(store.order) == count
    assert publication.next_chunk("file") == 1
    publication.close()


def test_chunks_join_on_or_are_refused(tmp_path: Path) -> None:
    publication = Publication(WatchedStore(tmp_path / "out"), manifests=True, token="t")
    publication.begin(HEADER)
    publication.publish(chunk(tmp_path / "work", 0), "file", "p0")
    with pytest.raises(MediaError, match="chunk 2 cannot be published yet: chunk 1 is the next one"):
        publication.publish(chunk(tmp_path / "work", 2), "file", "p0")
    with pytest.raises(MediaError, match="chunk 1 was encoded with other settings"):
        publication.publish(chunk(tmp_path / "work", 1, init=b"other"), "file", "p0")
    publication.publish(chunk(tmp_path / "work", 1), "file", "p0")
    assert publication.next_chunk("file") == 2
    publication.close()


def test_the_next_session_opens_a_period(tmp_path: Path) -> None:
    publication = Publication(WatchedStore(tmp_path / "out"), manifests=True, token="t")
    publication.begin(HEADER)
    publication.publish(chunk(tmp_path / "work", 0), "one", "p0", HEADER.created_unix_ms)
    publication.publish(chunk(tmp_path / "work", 0, init=b"other"), "two", "p1", HEADER.created_unix_ms + 60_000)
    assert [p.start for p in publication.timeline.periods] == [0, 60]
    assert (
        publication.next_chunk("one") is None
        and publication.next_chunk("two") == 1
        and publication.next_chunk("x") == 0
    )
    assert (tmp_path / "out/p1/360p/init.mp4").read_bytes() == b"other"
    publication.finish()
    publication.close()
    assert "EXT-X-DISCONTINUITY" in playlist_tags((tmp_path / "out/360p.m3u8").read_text())


# --- fencing ----------------------------------------------------------------------------------------------------------


def test_a_newer_run_fences_out_the_older_one(tmp_path: Path) -> None:
    old = Publication(LocalStore(tmp_path / "out"), manifests=True, token="old")
    old.begin(HEADER)
    old.publish(chunk(tmp_path / "work", 0), "file", "p0")
    new = Publication(LocalStore(tmp_path / "out"), manifests=True, token="new")
    new.begin(HEADER)
    before = tree(tmp_path / "out")
    for action in (lambda: old.publish(chunk(tmp_path / "work", 1), "file", "p0"), old.finish):
        with pytest.raises(FencedError, match="another run has taken over"):
            action()
    # Nor may it clean up what is not its own any more.
    old.discard()
    assert tree(tmp_path / "out") == before
    new.publish(chunk(tmp_path / "work", 1), "file", "p0")
    new.finish()
    whole(tmp_path / "out")
    for publication in (old, new):
        publication.close()


def test_fenced_out_while_it_writes(tmp_path: Path) -> None:
    """The fence is looked at again before anything names what was written."""

    class TakenOver(LocalStore):
        def put(self, name: str, data: bytes) -> None:
            super().put(name, data)
            if name.endswith("/50000.m4s"):
                super().put(FENCE, b'{"token": "another"}')

    publication = Publication(TakenOver(tmp_path / "out"), manifests=True, token="t")
    publication.begin(HEADER)
    publication.publish(chunk(tmp_path / "work", 0), "file", "p0")
    before = (tmp_path / "out" / MANIFEST).read_bytes()
    with pytest.raises(FencedError):
        publication.publish(chunk(tmp_path / "work", 1), "file", "p0")
    assert (tmp_path / "out" / MANIFEST).read_bytes() == before
    assert Ledger.load(LocalStore(tmp_path / "out")).next_chunk == 1
    publication.close()


def test_another_job_is_refused(tmp_path: Path) -> None:
    publish_all(LocalStore(tmp_path / "out"), tmp_path / "work", manifests=False)
    before = tree(tmp_path / "out")
    other = Publication(LocalStore(tmp_path / "out"), manifests=False, token="t")
    with pytest.raises(
        OutputError, match="already holds a broadcast; choose another output, or replace it with overwrite=True"
    ):
        other.begin(HEADER.model_copy(update={"fingerprint": "another"}))
    other.discard()
    other.close()
    assert tree(tmp_path / "out") == before


# --- giving up --------------------------------------------------------------------------------------------------------


def test_giving_up_leaves_nothing(tmp_path: Path) -> None:
    for step in range(3, 12):
        root = tmp_path / str(step)
        publication = Publication(WatchedStore(root, breaks_at=step), manifests=False, token="t")
        publication.begin(HEADER)
        with pytest.raises(OutputError, match="the plug"):
            for number in range(CHUNKS):
                publication.publish(chunk(tmp_path / "work", number), "file", "p0")
            publication.finish()
        publication.discard()
        assert not root.exists()
        with pytest.raises(FencedError, match="was given up"):
            publication.publish(chunk(tmp_path / "work", 0), "file", "p0")
        publication.close()


def test_giving_up_takes_along_what_an_earlier_run_had_published(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError):
        publish_all(WatchedStore(tmp_path / "out", breaks_at=8), tmp_path / "work", manifests=False)
    second = Publication(LocalStore(tmp_path / "out"), manifests=False, token="second")
    second.begin(HEADER)
    assert second.next_chunk("file") == 1
    second.publish(chunk(tmp_path / "work", 1), "file", "p0")
    second.discard()
    second.close()
    assert [str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*")] == ["notes.txt"]


def test_a_complete_broadcast_survives_that_a_second_run_gives_up(tmp_path: Path) -> None:
    publish_all(LocalStore(tmp_path / "out"), tmp_path / "work", manifests=False)
    before = tree(tmp_path / "out")
    second = Publication(LocalStore(tmp_path / "out"), manifests=False, token="second")
    second.begin(HEADER)
    second.discard()
    second.close()
    assert tree(tmp_path / "out") == before
    whole(tmp_path / "out")


def test_nothing_moves_in_the_end_for_who_was_there(tmp_path: Path) -> None:
    """Players that have begun to watch are sent to an MPD whose periods stay where they are; a later one sees no pause."""
    store = LocalStore(tmp_path / "out")
    publication = Publication(store, manifests=True, token="first")
    publication.begin(HEADER)
    for session, away_ms in (("a", 0), ("b", 70_000)):
        for number in range(2):
            one = chunk(tmp_path / "work", number)
            publication.publish(one, session, f"p-{session}", HEADER.created_unix_ms + away_ms)
            live = etree.fromstring((store.root / MANIFEST).read_bytes())
            assert [e.text for e in live.findall("mpd:Location", MPD_NS)] == [LIVE_MANIFEST]
            assert (store.root / LIVE_MANIFEST).read_bytes() == (store.root / MANIFEST).read_bytes()
    publication.finish()
    publication.close()
    recording, watched = (etree.fromstring((store.root / name).read_bytes()) for name in (MANIFEST, LIVE_MANIFEST))
    for mpd in (recording, watched):
        assert mpd.get("type") == "static" and mpd.find("mpd:Location", MPD_NS) is None
    starts = [[p.get("start") for p in mpd.findall("mpd:Period", MPD_NS)] for mpd in (recording, watched)]
    assert starts == [["PT0S", "PT4.010666S"], ["PT0S", "PT70S"]]
    assert recording.get("mediaPresentationDuration") == "PT8.022333S"
    # Pictures and sound end together, later than any did that a player may have; it is the same segments all the same.
    assert watched.get("mediaPresentationDuration") == "PT74.02168S"
    names = [
        [(t.get("media"), [time for time, _ in timeline(t)]) for t in mpd.iterfind(".//mpd:SegmentTemplate", MPD_NS)]
        for mpd in (recording, watched)
    ]
    assert names[0] == names[1]


def test_a_dvr_window_shows_the_newest_and_the_recording_everything(tmp_path: Path) -> None:
    store, header = LocalStore(tmp_path / "out"), HEADER.model_copy(update={"dvr_window_ms": 4000})
    publication = Publication(store, manifests=True, token="first")
    publication.begin(header)
    for number in range(6):
        publication.publish(chunk(tmp_path / "work", number), "s", "p0", HEADER.created_unix_ms)
    live = (store.root / "360p.m3u8").read_text()
    # Two segments fill the window; a run that goes on after a crash shows the same.
    assert len(playlist_addresses(live)) == 2 and playlist_tags(live)["EXT-X-MEDIA-SEQUENCE"] == ["4"]
    resumed = Publication(store, manifests=True, token="second")
    resumed.begin(header)
    assert resumed.ledger.shown == publication.ledger.shown
    resumed.publish(chunk(tmp_path / "work", 6), "s", "p0", HEADER.created_unix_ms)
    live = (store.root / "360p.m3u8").read_text()
    assert len(playlist_addresses(live)) == 2 and playlist_tags(live)["EXT-X-MEDIA-SEQUENCE"] == ["5"]
    resumed.finish()
    # At the address that players know, the window ends where it was: no number goes back (RFC 8216, 6.2.1 and 6.2.2).
    assert (store.root / "360p.m3u8").read_text() == live + "#EXT-X-ENDLIST\n"
    # Who comes later gets the recording, by the address that stays the same.
    master = (store.root / MASTER).read_text()
    assert playlist_addresses(master) == ["360p.recording.m3u8"] and 'URI="audio.recording.m3u8"' in master
    for name in ("360p", "audio"):
        recording = (store.root / f"{name}.recording.m3u8").read_text()
        assert len(playlist_addresses(recording)) == 7 and "EXT-X-ENDLIST" in recording
        assert playlist_tags(recording)["EXT-X-MEDIA-SEQUENCE"] == ["0"]
        assert playlist_tags(recording)["EXT-X-PLAYLIST-TYPE"] == ["VOD"]
    assert all(is_broadcast_object(path.relative_to(store.root).as_posix()) for path in store.root.rglob("*.m3u8"))
    (representation,) = [r for r in representations(store.root).values() if r.kind == "video"]
    assert len(representation.segments) == 7
    whole(store.root)
    publication.close()
    resumed.close()
