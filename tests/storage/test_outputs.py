"""Several outputs, and outputs that fail: over real HTTP, with a proxy that does what networks and services do."""

from __future__ import annotations

import itertools
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from streamwave.errors import FencedError, MediaError, OutputError
from streamwave.layout import FENCE, LIVE_MANIFEST, MANIFEST, MASTER
from streamwave.manifest import parts as ledgers
from streamwave.manifest.ledger import Ledger
from streamwave.manifest.lines import BroadcastLine
from streamwave.manifest.names import named_objects
from streamwave.publish import expiry
from streamwave.publish.outputs import Outputs
from streamwave.publish.publication import Publication
from streamwave.publish.queue import QUEUE_CHUNKS
from streamwave.storage.store import Store, open_store
from streamwave.verify.mpd import read_mpd
from tests.support.broadcast import HEADER, chunk
from tests.support.faults import FAULTS, Weather, proxy
from tests.support.processes import wait_for
from tests.support.reader import Reader
from tests.support.s3 import S3
from tests.support.sizes import size_of

#: ``make soak``: the outage at its full length.
OUTAGE_S = 60.0 if os.environ.get("TESTS_FULL") else 6.0
#: A chunk arrives this often: faster than the 2 s of a real one, so that tests are short.
EVERY_S = 0.25
#: Time-outs in proportion.
SHORT: dict[str, Any] = {
    "connect_timeout": 2,
    "read_timeout": 3,
    "retries": {"mode": "standard", "total_max_attempts": 2},
}


@contextmanager
def publishing(
    *stores: Callable[[], Store],
    token: str = "t",
    patience_s: float = 600,
    header: BroadcastLine = HEADER,
    known_chunks: int | None = None,
    levels: int = 0,
) -> Iterator[Outputs]:
    """A live broadcast on its way to ``stores``."""

    def at(number: int, store: Callable[[], Store]) -> tuple[str, Callable[[], Publication]]:
        return f"place {number}", lambda: Publication(
            store(), manifests=True, token=token, manifest_interval_s=0.2, levels=levels
        )

    outputs = Outputs([at(*one) for one in enumerate(stores)], patience_s=patience_s)
    try:
        outputs.begin(header, known_chunks=known_chunks)
        yield outputs
    finally:
        outputs.close()


def quiet(outputs: Outputs) -> None:
    """Wait until no manifest is due: nothing is written by itself while the test changes what is stored."""
    found = [one._manifests for one in outputs.publications if one is not None]
    wait_for(lambda: not any(one.due for one in found), "the manifests")


def tree(store: Store) -> dict[str, bytes | None]:
    """All objects but those that tell who published, and when."""
    return {name: store.get(name) for name in store.names() if name not in (FENCE, MANIFEST, LIVE_MANIFEST)}


def test_a_dead_output_never_holds_back_the_other_and_catches_up_by_itself(s3: S3, tmp_path: Path) -> None:
    address = f"{s3.bucket('outputs')}/{uuid.uuid4().hex}"
    count, gone = QUEUE_CHUNKS + 15, set()
    weather = Weather(faults=("reset",))
    with (
        proxy(s3.endpoint, weather) as through,
        publishing(
            lambda: open_store(str(tmp_path / "out")), lambda: open_store(address, s3.through(through, **SHORT))
        ) as outputs,
    ):
        for number in range(count):
            weather.share = 1.0 if number >= 3 else 0.0
            outputs.publish(chunk(tmp_path / "work", number), "one", "p0", done=lambda n=number: gone.add(n))  # type: ignore[misc]
        wait_for(lambda: outputs.lags()[1]["error"], "the dead output's error")
        local, remote = outputs.lags()
        assert (local["chunks"], local["lag_chunks"], local["error"]) == (count, 0, None)
        assert remote["lag_chunks"] >= count - 4 and abs(remote["lag_ms"] - remote["lag_chunks"] * 2000) < 500
        assert "cannot be" in remote["error"]
        # The files of some are kept for it, of a bounded number.
        assert QUEUE_CHUNKS - 2 <= count - len(gone) <= QUEUE_CHUNKS + 2
        weather.share = 0.0
        wait_for(lambda: outputs.lags()[1]["lag_chunks"] == 0, "the output that came back", 120)
        outputs.publish(chunk(tmp_path / "work", 0, init=b"other"), "two", "p1", HEADER.created_unix_ms + 200_000)
        outputs.finish()
        assert [lag["lag_chunks"] for lag in outputs.lags()] == [0, 0]
    assert gone == set(range(count))
    assert tree(open_store(address, s3.options)) == tree(open_store(str(tmp_path / "out")))


def test_after_a_restart_the_ledger_of_each_output_says_what_it_lacks(s3: S3, tmp_path: Path) -> None:
    address = f"{s3.bucket('outputs')}/{uuid.uuid4().hex}"
    weather = Weather(faults=("503",))

    def local() -> Store:
        return open_store(str(tmp_path / "out"))

    with proxy(s3.endpoint, weather) as through:

        def remote() -> Store:
            return open_store(address, s3.through(through, **SHORT))

        with publishing(local, remote) as outputs:
            for number in range(6):
                weather.share = 1.0 if number >= 2 else 0.0
                outputs.publish(chunk(tmp_path / "work", number), "one", "p0")
        weather.share = 0.0
        # The files of the chunks are gone; what lacks is read from the other output.
        with publishing(local, remote, token="second") as outputs:
            assert outputs.next_chunk("one") == 6
            wait_for(lambda: outputs.lags()[1]["lag_chunks"] == 0, "the output that was behind")
            outputs.publish(chunk(tmp_path / "work", 6), "one", "p0")
            outputs.finish()
    assert tree(open_store(address, s3.options)) == tree(local())
    assert len([name for name in local().names() if name.startswith("p0/360p/")]) == 8


@pytest.mark.parametrize("share", [0.1, 1.0], ids=["a tenth of the requests", "all of them for a while"])
def test_nothing_is_lost_and_no_reader_sees_a_hole(s3: S3, tmp_path: Path, share: float) -> None:
    address = f"{s3.bucket('faults')}/{uuid.uuid4().hex}"
    weather = Weather(faults=FAULTS if share < 1 else FAULTS[:4])
    reader = Reader(open_store(address, s3.options).get, size_of)
    threads = threading.active_count()
    with (
        proxy(s3.endpoint, weather) as through,
        publishing(lambda: open_store(address, s3.through(through, **SHORT))) as outputs,
        reader.looking(pause_s=0.05),
    ):
        begun = time.monotonic()
        most_behind, arrived = 0, list[int]()

        def faults() -> int:
            return sum(weather.met[fault] for fault in FAULTS)

        def outage() -> None:
            weather.share = share
            time.sleep(OUTAGE_S)
            wait_for(lambda: faults() > 3, "requests to fail")
            weather.share = 0.0
            arrived.append(int((time.monotonic() - begun) / EVERY_S) + 1)

        bad = threading.Thread(target=outage, daemon=True)
        for number in itertools.count():
            # All that has arrived by the end of the outage is published, and some more; and somebody has looked.
            if arrived and number > max(20, *arrived) and reader.rounds > 5:
                break
            assert time.monotonic() - begun < OUTAGE_S * 4 + 200, f"{number} of {arrived} chunks"
            time.sleep(max(0.0, begun + number * EVERY_S - time.monotonic()))
            if number == 4:
                bad.start()
            outputs.publish(chunk(tmp_path / "work", number), "one", "p0")
            most_behind = max(most_behind, int((time.monotonic() - begun) / EVERY_S) - number)
            assert threading.active_count() < threads + 60
        bad.join(60)
        outputs.finish()
    assert reader.faults == []
    if share == 1.0:
        assert most_behind > OUTAGE_S / EVERY_S / 2
    found = s3.objects("faults", address.removeprefix("s3://faults/"))
    for n in range(number):
        assert found[f"p0/360p/{n * 50_000}.m4s"] == f"360p {n} ".encode() * 50
        assert found[f"p0/audio/{n * 94 * 1024}.m4s"] == f"audio {n} ".encode() * 50
    assert found["360p.m3u8"].count(b"\np0/360p/") == number and b"EXT-X-ENDLIST" in found["360p.m3u8"]


def test_a_disk_that_is_full_is_waited_for_and_shows(tmp_path: Path) -> None:
    full = threading.Event()

    class Full(type(open_store(str(tmp_path)))):  # type: ignore[misc]
        def put(self, name: str, data: bytes) -> None:
            if full.is_set():
                raise OutputError("no space left; free some or choose another place")
            super().put(name, data)

    with publishing(lambda: Full(tmp_path / "out")) as outputs:
        outputs.publish(chunk(tmp_path / "work", 0), "one", "p0")
        news: list[str] = []
        outputs.on_change = news.append
        full.set()
        late = threading.Thread(target=outputs.publish, args=(chunk(tmp_path / "work", 1), "one", "p0"))
        late.start()
        wait_for(lambda: outputs.lags()[0]["error"], "the error")
        assert "no space left" in outputs.lags()[0]["error"] and outputs.progress.chunks == 1
        full.clear()
        late.join(60)
        wait_for(lambda: news[1:], "the news")
        assert outputs.progress.chunks == 2 and outputs.lags()[0]["error"] is None
        assert "no space left" in news[0] and news[1:] == ["place 0 can be written again"]
        full.set()
    # At the beginning there is nothing to wait for.
    with pytest.raises(OutputError, match="no space left"), publishing(lambda: Full(tmp_path / "new")):
        pass


def test_an_output_that_was_away_at_the_beginning_is_told_to_be_back(tmp_path: Path) -> None:
    away = threading.Event()
    away.set()

    class Away(type(open_store(str(tmp_path)))):  # type: ignore[misc]
        def get(self, name: str) -> bytes | None:
            if away.is_set():
                raise OutputError("the other cannot be read")
            found: bytes | None = super().get(name)
            return found

    with publishing(lambda: open_store(str(tmp_path / "out")), lambda: Away(tmp_path / "other")) as outputs:
        wait_for(lambda: outputs.lags()[1]["error"], "the error")
        news: list[str] = []
        outputs.on_change = news.append
        away.clear()
        wait_for(lambda: news, "the news")
        assert news == ["place 1 can be written again"] and outputs.lags()[1]["error"] is None


def test_a_new_broadcast_does_not_wait_for_an_output_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that hangs refuses nothing. Nothing of the broadcast can be there, so there is nothing to learn from it either."""
    monkeypatch.setattr("streamwave.publish.outputs.BEGIN_S", 100.0)
    answers = threading.Event()

    def late() -> Store:
        assert answers.wait(60), "the others were kept waiting"
        return open_store(str(tmp_path / "other"))

    with publishing(lambda: open_store(str(tmp_path / "out")), late, known_chunks=0) as outputs:
        outputs.publish(chunk(tmp_path / "work", 0), "one", "p0")
        assert [lag["chunks"] for lag in outputs.lags()] == [1, 0]
        answers.set()
        wait_for(lambda: outputs.lags()[1]["chunks"] == 1, "the other output")


def test_a_resumed_broadcast_goes_on_with_those_that_hold_what_is_known_to_be_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamwave.publish.outputs.BEGIN_S", 100.0)
    monkeypatch.setattr("streamwave.publish.outputs.BEGIN_KNOWN_S", 0.1)
    a, b = tmp_path / "out", tmp_path / "other"
    with publishing(lambda: open_store(str(a)), lambda: open_store(str(b))) as outputs:
        for number in range(3):
            outputs.publish(chunk(tmp_path / "work", number), "one", "p0")
        wait_for(lambda: all(lag["chunks"] == 3 for lag in outputs.lags()), "both")
    answers = threading.Event()

    def late() -> Store:
        assert answers.wait(60), "the others were kept waiting"
        return open_store(str(b))

    began = time.monotonic()
    with publishing(lambda: open_store(str(a)), late, token="second", known_chunks=3) as outputs:
        outputs.publish(chunk(tmp_path / "work", 3), "one", "p0")
        assert time.monotonic() - began < 30
        answers.set()
        wait_for(lambda: outputs.lags()[1]["chunks"] == 4, "the other output")
    # One that lacks what is known to be published is no reason to go on: the other one may have it.
    answers.clear()
    threading.Timer(1.0, answers.set).start()
    with publishing(lambda: open_store(str(tmp_path / "new")), late, token="third", known_chunks=4) as outputs:
        assert outputs.next_chunk("one") == 4


@pytest.mark.parametrize("scheme", ["local", "memory"])
def test_an_output_that_is_emptied_gets_back_what_another_one_holds(tmp_path: Path, scheme: str) -> None:
    root = str(tmp_path) if scheme == "local" else f"memory://{tmp_path.name}"
    stores = [open_store(f"{root}/{place}/stage/one") for place in ("a", "b")]
    with publishing(lambda: stores[0], lambda: stores[1], levels=2) as outputs:
        news: list[str] = []
        outputs.on_change = news.append
        for number in range(12):
            outputs.publish(chunk(tmp_path / "work", number), "one", "p0")
            if number == 5:
                wait_for(lambda: outputs.lags()[1]["chunks"] == 6, "the second output")
                quiet(outputs)
                empty(stores[1])
        outputs.finish()
    assert [text for text in news if "was deleted from place 1" in text and "is copied from the other outputs" in text]
    assert tree(stores[0]) == tree(stores[1])


@pytest.mark.parametrize("late", [False, True], ids=["", "a manifest arrives late"])
def test_the_only_output_that_is_emptied_begins_again(tmp_path: Path, late: bool) -> None:
    """``late``: a manifest that was being written when the broadcast was deleted is written after that."""
    store = open_store(str(tmp_path / "out/stage/one"))
    with publishing(lambda: store, levels=2) as outputs:
        news: list[str] = []
        outputs.on_change = news.append
        for number in range(8):
            outputs.publish(chunk(tmp_path / "work", number), "one", "p0", HEADER.created_unix_ms)
            if number == 4:
                quiet(outputs)
                manifests = {name: store.get(name) or b"" for name in (MASTER, MANIFEST)}
                empty(store)
                for name, data in manifests.items() if late else ():
                    store.put(name, data)
        outputs.finish()
        assert outputs.lags()[0]["error"] is None
    assert any("starts again there" in text for text in news)
    ledger = Ledger.load(store)
    assert ledger.timeline is not None and ledger.timeline.ended and ledger.next_chunk == 8
    assert {name for name in store.names() if name.endswith(".m4s")} <= named_objects(ledger.timeline)
    assert [s.time for s in ledger.timeline.periods[0].tracks["360p"].segments] == [n * 50_000 for n in (5, 6, 7)]
    listed = read_mpd(store.get(MANIFEST) or b"")
    assert listed.starts == {"p0": 0} and 6 <= listed.end < Fraction(61, 10)


def test_an_output_that_is_not_mounted_any_more_is_not_begun_again(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "out/stage/one"))
    with publishing(lambda: store, levels=2, patience_s=0) as outputs:
        outputs.publish(chunk(tmp_path / "work", 0), "one", "p0")
        (tmp_path / "out").rename(tmp_path / "away")
        (tmp_path / "out").mkdir()  # where it was mounted
        with pytest.raises(OutputError, match="if it was moved or unmounted"):
            outputs.publish(chunk(tmp_path / "work", 1), "one", "p0")
    assert list((tmp_path / "out").iterdir()) == []


def empty(store: Store) -> None:
    for name in store.names():
        store.delete(name)


@pytest.mark.parametrize("lost", [0, 4, QUEUE_CHUNKS + 12])
def test_a_channel_that_keeps_only_its_window_is_cleaned_alike_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    """Also where an output was away for so long that what it lacks has left the window of the other one."""
    monkeypatch.setattr(expiry, "GRACE_SEGMENTS", Fraction(1, 10))  # 0.2 s
    monkeypatch.setattr(ledgers, "PART_CHUNKS", 16)
    header = HEADER.model_copy(update={"dvr_window_ms": 10_000, "keep": False})
    away = threading.Event()

    class Away(type(open_store(str(tmp_path)))):  # type: ignore[misc]
        def put(self, name: str, data: bytes) -> None:
            if away.is_set():
                raise OutputError("the other cannot be written")
            super().put(name, data)

    def media(store: Store) -> set[str]:
        return {name for name in store.names() if name.endswith((".m4s", ".mp4"))}

    stores = open_store(str(tmp_path / "out")), open_store(str(tmp_path / "other"))
    with publishing(lambda: stores[0], lambda: Away(tmp_path / "other"), header=header) as outputs:
        count = 0

        def go_on(chunks: int) -> None:
            nonlocal count
            for number in range(count, count + chunks):
                outputs.publish(chunk(tmp_path / "work", number), "one", "p0")
                time.sleep(0.05)  # of the time that superfluous objects are given
            count += chunks

        go_on(12)
        away.set()
        go_on(lost)
        away.clear()
        wait_for(lambda: [lag["lag_chunks"] for lag in outputs.lags()] == [0, 0], "the other output")
        go_on(12)
        wait_for(lambda: [lag["lag_chunks"] for lag in outputs.lags()] == [0, 0], "the other output")
        outputs.finish()
    for store in stores:
        ledger = Ledger.load(store)
        assert ledger.timeline is not None and ledger.timeline.ended and ledger.chunk_count == count
        named = named_objects(ledger.timeline)
        # What has left the window within the last moments may still be there, and nothing else.
        assert named <= media(store) and len(media(store) - named) <= 2 * 12, store.url
        times = {
            int(name.split("/")[-1].removesuffix(".m4s")) for name in named if "360p" in name and "init" not in name
        }
        assert times == {n * 50_000 for n in range(count - 5, count)}
    assert Ledger.load(stores[0]).timeline == Ledger.load(stores[1]).timeline


def test_what_cannot_be_mended_reaches_whoever_publishes(tmp_path: Path) -> None:
    with publishing(lambda: open_store(str(tmp_path / "a")), lambda: open_store(str(tmp_path / "b"))) as outputs:
        outputs.publish(chunk(tmp_path / "work", 0), "one", "p0")
        with pytest.raises(MediaError, match="chunk 1 was encoded with other settings"):
            outputs.publish(chunk(tmp_path / "work", 1, init=b"other"), "one", "p0")
        outputs.publish(chunk(tmp_path / "work", 1), "one", "p0")
        wait_for(lambda: all(lag["chunks"] == 2 for lag in outputs.lags()), "both places to have both chunks")
        with publishing(lambda: open_store(str(tmp_path / "a")), token="newer") as newer:
            with pytest.raises(FencedError, match="another run has taken over"):
                outputs.publish(chunk(tmp_path / "work", 2), "one", "p0")  # the other output may be quicker
                wait_for(lambda: outputs.fatal, "the first output to notice")
                outputs.publish(chunk(tmp_path / "work", 3), "one", "p0")
            assert newer.next_chunk("one") in (2, 3)


def test_an_output_that_holds_another_broadcast(tmp_path: Path) -> None:
    other = Publication(open_store(str(tmp_path / "b")), manifests=True, token="x")
    other.begin(HEADER.model_copy(update={"fingerprint": "another"}))
    other.close()
    with publishing(lambda: open_store(str(tmp_path / "a")), lambda: open_store(str(tmp_path / "b"))) as outputs:
        outputs.publish(chunk(tmp_path / "work", 0), "one", "p0")
        assert "already holds a broadcast" in outputs.lags()[1]["error"]
    with (
        pytest.raises(OutputError, match="already holds a broadcast"),
        publishing(lambda: open_store(str(tmp_path / "b")), patience_s=0),
    ):
        pass
