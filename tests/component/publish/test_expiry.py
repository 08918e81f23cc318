"""A channel that keeps only its DVR window: whatever happens, nothing that anybody may still want is deleted."""

from __future__ import annotations

import hashlib
import json
import random
from fractions import Fraction
from pathlib import Path

import pytest

from streamwave.errors import OutputError
from streamwave.layout import MANIFEST, MASTER, init_name, segment_name
from streamwave.manifest import parts as ledgers
from streamwave.manifest.dash import TAIL, duration_text
from streamwave.manifest.ledger import Ledger
from streamwave.manifest.lines import BroadcastLine
from streamwave.manifest.packaged import PackagedChunk, PackagedSegment, PackagedTrack
from streamwave.manifest.timeline import Timeline
from streamwave.model import Rendition
from streamwave.publish import expiry
from streamwave.publish.expiry import GRACE_SEGMENTS, Expiry
from streamwave.publish.publication import Publication
from streamwave.storage.store import FsspecStore, LocalStore
from streamwave.verify.hls import read_master, read_playlist
from streamwave.verify.mpd import read_mpd
from tests.unit.manifest.samples import AUDIO, FULL, SMALL

CREATED_MS = 1_767_000_000_000
TICKS = {"video": 90_000, "audio": 48_000}


class Watched(FsspecStore):
    """Fails the test when an object goes that a manifest names, or has named within the last three segments.

    ``now`` is the time of the test in seconds. ``stubborn``: the chance that a deletion is refused.
    """

    def __init__(self, url: str, chance: random.Random, stubborn: float = 0.0) -> None:
        super().__init__(url)
        self.now, self.longest = 0.0, 0.0
        self.chance, self.stubborn = chance, stubborn
        self.named_until: dict[str, float] = {}  # until when a manifest that was current has named it
        self.current: set[str] = set()
        self.deleted: list[str] = []

    def put(self, name: str, data: bytes) -> None:
        super().put(name, data)
        if name == MANIFEST:
            for gone in self.current:
                self.named_until[gone] = self.now
            self.current = self.named()

    def named(self) -> set[str]:
        """What all manifests name at this moment."""
        found = read_mpd(self.get(MANIFEST) or b"").objects()
        for playlist in read_master((self.get(MASTER) or b"").decode()):
            found |= read_playlist((self.get(playlist) or b"").decode()).objects()
        return found

    def delete(self, name: str) -> None:
        if self.chance.random() < self.stubborn:
            raise OutputError("not now")
        told = Ledger.load(FsspecStore(self.url)).timeline
        if name.startswith("ledger/"):
            assert Ledger.load(_Without(self.url, name)).timeline == told, f"the ledger needs {name}"
        else:
            assert name not in self.named(), f"{name} is named"
            assert told is not None and name not in listed(told), f"the ledger names {name}"
            waited = self.now - self.named_until.get(name, -1e9)
            assert waited >= GRACE_SEGMENTS * self.longest, f"{name} was named {waited} s ago"
            self.deleted.append(name)
        super().delete(name)

    def whole(self) -> None:
        """Everything that is named is there."""
        there = set(self.names())
        assert self.named() <= there, self.named() - there


class _Without(FsspecStore):
    """A store in which one object is gone."""

    def __init__(self, url: str, gone: str) -> None:
        super().__init__(url)
        self.gone = gone

    def get(self, name: str) -> bytes | None:
        return None if name == self.gone else super().get(name)


def listed(timeline: Timeline) -> set[str]:
    names = {init_name(p.name, r) for p in timeline.periods for r in p.tracks}
    return names | {
        segment_name(p.name, r, s.time) for p in timeline.periods for r, t in p.tracks.items() for s in t.segments
    }


class Source:
    """Chunks of chance: a session's renditions, its segments' lengths in tenths of a second."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder, self.chance = folder, chance
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "init").write_bytes(b"init")
        (folder / "data").write_bytes(b"data")
        self.session = -1
        self.begin()

    def begin(self) -> None:
        self.session += 1
        self.number = self.at = 0
        self.renditions = self.chance.choice([(FULL, SMALL, AUDIO), (SMALL, AUDIO), (FULL, SMALL), (AUDIO,)])

    def chunk(self) -> tuple[PackagedChunk, float]:
        """The next chunk, and how long it is in seconds."""
        lengths = [self.chance.randint(5, 40) for _ in range(self.chance.choice([1, 1, 1, 3]))]
        tracks = []
        for rendition in self.renditions:
            per, at, segments = TICKS[rendition.kind] // 10, self.at, []
            for length in lengths:
                segments.append(
                    PackagedSegment(time=at * per, duration=length * per, size=4, path=str(self.folder / "data"))
                )
                at += length
            tracks.append(self.track(rendition, tuple(segments)))
        self.at += sum(lengths)
        self.number += 1
        return PackagedChunk(number=self.number - 1, tracks=tuple(tracks)), sum(lengths) / 10

    def track(self, rendition: Rendition, segments: tuple[PackagedSegment, ...]) -> PackagedTrack:
        return PackagedTrack(
            rendition=rendition, timescale=TICKS[rendition.kind], codecs="avc1.64001f",
            init_path=str(self.folder / "init"), init_sha256=hashlib.sha256(b"init").hexdigest(), init_size=4,
            frame_rate=Fraction(10) if rendition.kind == "video" else None, segments=segments,
        )  # fmt: skip


def run(root: Path, seed: int, *, steps: int = 60, stubborn: float = 0.0) -> tuple[Watched, Ledger]:
    """A channel with reconnects, restarts, clocks that jump, and sometimes an output that refuses to delete."""
    chance = random.Random(seed)
    store = Watched(f"memory://expiry{root}", chance, stubborn)
    source = Source(root / "work", chance)
    window_ms = chance.choice([500, 4_000, 10_000, 30_000])
    header = BroadcastLine(
        created_unix_ms=CREATED_MS, segment_ms=2000, fingerprint="f", dvr_window_ms=window_ms, keep=False
    )

    def publication(token: int) -> Publication:
        found = Publication(store, manifests=True, token=str(token))
        found._expiry = Expiry(store, lambda: store.now)
        found.begin(header)
        return found

    published = publication(0)
    wall_ms = CREATED_MS
    for step in range(steps):
        event = chance.random()
        if event < 0.1 and source.number:
            # The publisher comes back; its clock may say anything.
            source.begin()
            wall_ms = CREATED_MS + int(store.now * 1000) + chance.choice([0, 0, 5_000, -3_600_000, 3_600_000])
        elif event < 0.2:
            published.close()
            before = published.timeline
            published = publication(step + 1)
            assert published.timeline == before, "a restart has changed what is published"
            assert published.next_chunk(f"{source.session:06d}") == source.number
        chunk, length_s = source.chunk()
        durations = [s.duration / t.timescale for t in chunk.tracks for s in t.segments]
        store.longest = max(store.longest, *durations)
        store.now += length_s * chance.choice([1, 1, 1, 0.2, 3])
        published.publish(chunk, f"{source.session:06d}", f"p{source.session}", wall_ms)
        store.whole()
    published.finish()
    published.close()
    store.whole()
    return store, published.ledger


@pytest.fixture(autouse=True)
def _short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "PART_CHUNKS", 4)


@pytest.mark.parametrize("seed", range(24))
def test_nothing_that_is_wanted_is_deleted(tmp_path: Path, seed: int) -> None:
    store, ledger = run(tmp_path, seed, stubborn=0.3 if seed % 3 == 0 else 0.0)
    assert store.deleted
    # What is left over is known, and no more than what the ledger says.
    media = {name for name in store.names() if name.endswith((".m4s", ".mp4"))}
    assert ledger.timeline is not None and media == listed(ledger.timeline) | ({*ledger.left} & media)


def test_it_does_not_grow(tmp_path: Path) -> None:
    """Objects, ledger and memory depend on the window, not on the time that the channel has been running."""
    sizes = []
    for steps in (60, 240):
        store, ledger = run(tmp_path / str(steps), 4, steps=steps)
        assert ledger.timeline is not None
        sizes.append(len(store.names()))
        ledger_names = [name for name in store.names() if name.startswith("ledger/0")]
        assert len(ledger_names) <= 8  # those of the last seconds wait as segments do
        assert sum(len(p.tracks) for p in ledger.timeline.periods) < 40
    assert sizes[1] < 2 * sizes[0]


def test_the_end_is_a_recording_of_the_window(tmp_path: Path) -> None:
    store, ledger = run(tmp_path, 7)
    again = Ledger.load(FsspecStore(store.url))
    assert again.timeline == ledger.timeline and again.timeline is not None and again.timeline.ended
    text = (store.get(MANIFEST) or b"").decode()
    assert 'type="static"' in text and 'start="PT0S"' in text
    seconds = again.timeline.duration
    assert f'mediaPresentationDuration="{duration_text(seconds + TAIL)}"' in text


def test_a_grace_that_is_too_short_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail."""
    monkeypatch.setattr(expiry, "GRACE_SEGMENTS", 0)
    with pytest.raises(AssertionError, match="was named"):
        for seed in range(20):
            run(tmp_path / str(seed), seed)


def test_with_keep_nothing_is_deleted(tmp_path: Path) -> None:
    source, store = Source(tmp_path / "work", random.Random(1)), LocalStore(tmp_path / "out")
    published = Publication(store, manifests=True, token="t")
    published.begin(BroadcastLine(created_unix_ms=CREATED_MS, segment_ms=2000, fingerprint="f", dvr_window_ms=4000))
    for _ in range(12):
        published.publish(source.chunk()[0], "000000", "p0", CREATED_MS)
    assert published.ledger.left == {} and json.loads((store.get("ledger/000000.jsonl") or b"").splitlines()[0])["keep"]
    published.finish()
    published.close()
    assert len([name for name in store.names() if name.endswith(".m4s")]) == len(listed(published.timeline)) - len(
        source.renditions
    )
