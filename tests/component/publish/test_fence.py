"""Two runs of one broadcast, of which one does not know yet that it was replaced: nothing that is told is ever wrong."""

from __future__ import annotations

import shutil
import threading
import time
import uuid
from pathlib import Path
from types import SimpleNamespace

import pytest

from streamwave.errors import FencedError, OutputError
from streamwave.layout import FENCE, MANIFEST
from streamwave.manifest.ledger import Ledger
from streamwave.manifest.packaged import PackagedChunk
from streamwave.publish import fence
from streamwave.publish.fence import FRESH_S, Fence
from streamwave.publish.publication import Publication
from streamwave.storage.store import FsspecStore, LocalStore
from streamwave.verify import verify_broadcast
from tests.support.broadcast import HEADER, chunk
from tests.support.media import make_clip
from tests.support.published import packaged


class FarStore(FsspecStore):
    """Objects in memory, handled as if every request were a round trip; a put of ``slow`` waits for ``go_on``."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.remote = True
        self.slow = ""
        self.go_on, self.waits = threading.Event(), threading.Event()
        self.order: list[str] = []
        self.looks = 0

    def get(self, name: str) -> bytes | None:
        self.looks += name == FENCE
        return super().get(name)

    def put(self, name: str, data: bytes) -> None:
        if self.slow and self.slow in name:
            self.waits.set()
            assert self.go_on.wait(60)
        super().put(name, data)
        self.order.append(name)


@pytest.fixture
def url() -> str:
    return f"memory://{uuid.uuid4().hex}"


@pytest.fixture(scope="module")
def encodes(tmp_path_factory: pytest.TempPathFactory) -> list[list[PackagedChunk]]:
    """The same chunks with the same settings, encoded twice to different bytes."""
    found = []
    for number, options in enumerate(((), ("-qp", "45"))):
        folder = tmp_path_factory.mktemp(f"encode-{number}")
        found.append(packaged(folder, make_clip(folder / "a.mp4", frames=75, gop=25, options=options)))
    return found


@pytest.mark.parametrize("late", ["p0/large/25", "p0/large/50", "p0/audio/", "large/init", MANIFEST])
def test_a_stale_run_of_other_bytes_does_no_harm(url: str, encodes: list[list[PackagedChunk]], late: str) -> None:
    """It is stopped in the middle of a request, which arrives when its successor has long gone on."""
    mine, theirs = encodes
    sizes = [
        [segment.size for one in chunks for track in one.tracks for segment in track.segments] for chunks in encodes
    ]
    assert sizes[0] != sizes[1] and len(mine) == len(theirs) == 3
    far = FarStore(url)
    stale = Publication(far, manifests=True, token="stale")
    stale.begin(HEADER)
    outcome: list[Exception] = []

    def publish_all() -> None:
        try:
            for one in mine:
                stale.publish(one, "s", "p0")
        except FencedError as error:
            outcome.append(error)

    if late != "large/init":
        stale.publish(mine[0], "s", "p0")
    far.slow = late
    thread = threading.Thread(target=publish_all)
    thread.start()
    assert far.waits.wait(60)
    successor = Publication(FarStore(url), manifests=True, token="successor")
    successor.begin(HEADER)
    for number in range(successor.next_chunk("s") or 0, 3):
        successor.publish(theirs[number], "s", "p0")
    threading.Event().wait(FRESH_S)  # the stale run's look at the fence is outdated by now, as after any longer stop
    far.go_on.set()
    thread.join(60)
    assert outcome and "another run has taken over" in str(outcome[0])
    # Of what it had on its way nothing else came: neither manifests of the segments nor a ledger.
    assert "ledger/000000.jsonl" not in far.order[-1:] and far.order[-1].startswith((late[:8], "p0/", MANIFEST))
    successor.finish()
    reader = FarStore(url)
    verdict = verify_broadcast(reader)
    assert verdict.findings == [] and verdict.renditions["large"].samples == 75
    assert Ledger.load(reader).chunk_count == 3
    for publication in (stale, successor):
        publication.close()


def test_who_takes_over_waits_until_looks_of_the_other_are_outdated(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other run has looked, and writes what that entitles it to; the ledger is read after that."""
    fresh_s, waits = 60.0, list[float]()

    def wait(seconds: float) -> None:
        waits.append(seconds)
        last.join(fresh_s)  # which takes no longer than a look is good for

    monkeypatch.setattr(fence, "FRESH_S", fresh_s)
    monkeypatch.setattr(fence, "time", SimpleNamespace(sleep=wait, monotonic=time.monotonic))
    far = FarStore(url)
    old = Publication(far, manifests=True, token="old")
    old.begin(HEADER)
    old.publish(chunk(tmp_path, 0), "file", "p0")
    far.slow = MANIFEST
    last = threading.Thread(target=old.publish, args=(chunk(tmp_path, 1), "file", "p0"))
    last.start()
    assert far.waits.wait(60)
    new = Publication(FarStore(url), manifests=True, token="new")
    takes = threading.Thread(target=new.begin, args=(HEADER,))
    takes.start()
    while FarStore(url).get(FENCE) != b'{"token": "new"}':
        assert takes.is_alive()
    far.go_on.set()
    last.join(60)
    takes.join(60)
    assert waits == [fresh_s] and new.next_chunk("file") == 2
    for publication in (old, new):
        publication.close()


def test_a_chunk_looks_at_a_far_fence_once_and_again_when_that_is_long_ago(url: str, tmp_path: Path) -> None:
    far = FarStore(url)
    publication = Publication(far, manifests=True, token="t")
    publication.begin(HEADER)
    before = far.looks
    publication.publish(chunk(tmp_path, 0), "file", "p0")
    assert far.looks == before + 1
    publication.close()
    now = [0.0]
    fence = Fence(far, "t", clock=lambda: now[0])
    before = far.looks
    fence.check()
    now[0] = FRESH_S
    fence.check()
    assert far.looks == before + 1
    now[0] += 0.001
    fence.check()
    assert far.looks == before + 2
    far.put(FENCE, b'{"token": "another"}')
    fence.check()
    now[0] += FRESH_S + 0.001
    with pytest.raises(FencedError, match="another run has taken over"):
        fence.check()
    assert not fence.holds()


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]", b"\xff\xfe"])
def test_a_fence_that_a_disk_has_damaged_is_somebody_elses(tmp_path: Path, damaged: bytes) -> None:
    """Whoever comes next takes over, and nobody is stopped for ever by what cannot be read."""
    store = LocalStore(tmp_path / "out")
    first, next_one = Fence(store, "first"), Fence(store, "next")
    first.take(ended=False)
    store.put(FENCE, damaged)
    assert not first.holds()
    with pytest.raises(FencedError):
        first.look()
    next_one.take(ended=False)
    next_one.look()


def test_a_deletion_that_has_not_reached_the_ledger_is_no_other_run(tmp_path: Path) -> None:
    """Being fenced out of one output means being fenced out of all, and nobody has taken over."""
    store = LocalStore(tmp_path / "out")
    publication = Publication(store, manifests=True, token="t")
    publication.begin(HEADER)
    publication.publish(chunk(tmp_path / "work", 0), "file", "p0")
    store.delete(FENCE)
    with pytest.raises(OutputError, match=r"lacks ledger/writer.json.*end this run: the next one continues") as caught:
        publication.publish(chunk(tmp_path / "work", 1), "file", "p0")
    assert not isinstance(caught.value, FencedError)
    shutil.rmtree(tmp_path / "out" / "ledger")
    with pytest.raises(OutputError, match="does not hold the broadcast any more"):
        publication.publish(chunk(tmp_path / "work", 1), "file", "p0")
    publication.close()


def test_the_next_run_continues_a_broadcast_whose_fence_was_deleted(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "out")
    for number, token in enumerate(("first", "next")):
        publication = Publication(store, manifests=True, token=token)
        publication.begin(HEADER)
        publication.publish(chunk(tmp_path / "work", number), "file", "p0")
        store.delete(FENCE)
        publication.close()
    assert Ledger.load(store).chunk_count == 2


def test_a_folder_that_vanishes_is_an_output_that_is_away(tmp_path: Path) -> None:
    """As a disk that is not mounted any more: nothing is written below its mount point, and it goes on when it is back."""
    publication = Publication(LocalStore(tmp_path / "out"), manifests=True, token="t")
    publication.begin(HEADER)
    publication.publish(chunk(tmp_path / "work", 0), "file", "p0")
    (tmp_path / "out").rename(tmp_path / "away")
    for action in (
        lambda: publication.publish(chunk(tmp_path / "work", 1), "file", "p0"),
        publication.reload,
        publication.finish,
    ):
        with pytest.raises(OutputError, match=r"does not hold the broadcast any more; if it was moved or unmounted"):
            action()
    assert not (tmp_path / "out").exists()
    (tmp_path / "away").rename(tmp_path / "out")
    publication.publish(chunk(tmp_path / "work", 1), "file", "p0")
    publication.finish()
    publication.close()
    found = Ledger.load(LocalStore(tmp_path / "out"))
    assert found.chunk_count == 2 and found.timeline is not None and found.timeline.ended
