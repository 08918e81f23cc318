"""A live broadcast without any orchestration: what survives a crash, a change of the settings, and late words."""

from __future__ import annotations

import fcntl
import json
import shutil
import threading
import time
from collections.abc import Callable
from itertools import chain, pairwise
from pathlib import Path
from typing import cast

import pytest
from lxml import etree

from streamwave.broadcasts import catalog, listing
from streamwave.broadcasts.catch_up import catch_up
from streamwave.broadcasts.finalize import finish_cut_off
from streamwave.errors import OutputError, SpoolError
from streamwave.layout import ENTRY, FENCE, INDEX, LIVE_MANIFEST, MANIFEST, THUMBNAIL
from streamwave.pipeline.live import LiveBroadcast
from streamwave.receive.segmenter import Segmenter
from streamwave.spool.broadcast import RUN_LOCK, BroadcastSpool, open_session
from streamwave.spool.options import Options
from tests.support.live_publishing import publish, settings
from tests.support.media import Clip, make_clip
from tests.support.player import MPD_NS, decode_pictures, representations
from tests.support.processes import wait_for

CHUNKS = 3


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=25 * CHUNKS, gop=25, size="160x90")


@pytest.fixture
def spool(tmp_path: Path, clip: Clip) -> BroadcastSpool:
    """A broadcast of which one session has been received."""
    found, session = open_session(tmp_path / "spool", "show", output=str(tmp_path / "out"), window_ms=0)
    Segmenter(Options(source=f"file:{clip.path}", spool=session, segment_ms=1000)).run()
    return found


def root(spool: BroadcastSpool) -> Path:
    return Path(spool.info().output)


def program(spool: BroadcastSpool) -> dict[str, str]:
    """Title and Source of the manifest."""
    mpd = etree.fromstring((root(spool) / MANIFEST).read_bytes())
    found = mpd.find("mpd:ProgramInformation", MPD_NS)
    return {etree.QName(child).localname: child.text for child in found}


def test_other_settings_after_a_crash_count_from_the_next_session_on(
    spool: BroadcastSpool, clip: Clip, tmp_path: Path
) -> None:
    with LiveBroadcast(spool, settings(tmp_path), "first") as broadcast:
        assert publish(broadcast, broadcast.chunks(), 2) == 2
    other = {"rungs": [{"name": "tiny", "short_side": 60, "max_kbps": 200}], "audio_kbps": 64}
    changed = settings(tmp_path, ladder=json.dumps(other), crf=40, encoder_threads=1, segment_seconds=2)
    session = spool.add_session()
    assert session is not None
    Segmenter(Options(source=f"file:{clip.path}", spool=session, segment_ms=1000)).run()
    with LiveBroadcast(spool, changed, "second") as broadcast:
        assert publish(broadcast, broadcast.chunks()) == 1 + CHUNKS
        broadcast.finish()
    first, second = representations(root(spool), 0), representations(root(spool), 1)
    assert (set(first), set(second)) == ({"small", "audio"}, {"tiny", "audio"})
    for name, period in (("small", first), ("tiny", second)):
        assert len(list(decode_pictures(period[name].data, period[name].timescale))) == clip.frames
    # No segment is longer than the broadcast has promised from its start.
    assert all(len(period["audio"].segments) == CHUNKS for period in (first, second))


def test_a_later_run_clears_what_an_earlier_one_has_published(spool: BroadcastSpool, tmp_path: Path) -> None:
    left = {path.name: path.read_bytes() for path in spool.sessions()[0].glob("000000.*")}
    assert len(left) == 2
    with LiveBroadcast(spool, settings(tmp_path), "first") as broadcast:
        publish(broadcast, broadcast.chunks(), 1)
    for name, data in left.items():  # it was killed before it came to removing them
        (spool.sessions()[0] / name).write_bytes(data)
    with LiveBroadcast(spool, settings(tmp_path), "second") as broadcast:
        publish(broadcast, broadcast.chunks(), 1)
    assert sorted(path.name for path in spool.sessions()[0].glob("0*")) == ["000002.aac", "000002.mkv"]


def test_a_later_run_counts_on_and_keeps_the_picture(spool: BroadcastSpool, tmp_path: Path) -> None:
    with LiveBroadcast(spool, settings(tmp_path), "first") as broadcast:
        publish(broadcast, broadcast.chunks(), 2)
        told = spool.status()
    assert told["chunks"] == 2
    picture = root(spool) / THUMBNAIL
    stored = (picture.stat().st_ino, picture.stat().st_mtime_ns)
    names = ("chunks", "published_ms", "received_ms")
    seen = [[int(str(told[name])) for name in names]]

    def look() -> None:
        seen.append([int(str(spool.status()[name])) for name in names])

    with LiveBroadcast(spool, settings(tmp_path), "second") as broadcast:
        look()
        chunks = broadcast.chunks()
        item = next(chunks)
        look()
        publish(broadcast, chain([item], chunks))
        look()
        broadcast.finish()
    assert [chunks for chunks, *_ in seen] == [2, 2, 2, 3]
    assert all(before <= after for one, next in pairwise(seen) for before, after in zip(one, next, strict=True))
    assert spool.status()["chunks"] == 3
    # The list of broadcasts shows the same picture all the time.
    assert (picture.stat().st_ino, picture.stat().st_mtime_ns) == stored


def test_what_the_publisher_says_late_is_in_the_next_manifest_and_in_the_last(
    spool: BroadcastSpool, tmp_path: Path
) -> None:
    with LiveBroadcast(spool, settings(tmp_path), "run") as broadcast:
        chunks = broadcast.chunks()
        publish(broadcast, chunks, 1)
        assert program(spool)["Title"] == "show"
        assert program(spool)["Source"] == "audio: aac; fps: 25; size: 160x90; video: h264"
        (spool.folder / "metadata.json").write_text('{"title": "Evening", "encoder": "obs"}')
        publish(broadcast, chunks, 1)
        # The tasks of the next chunk may have been on their way already; the one after it has it.
        publish(broadcast, chunks, 1)
        # Manifests of one second are one.
        wait_for(lambda: program(spool)["Title"] == "Evening", "the manifest that says so")
        assert "encoder: obs" in program(spool)["Source"]
        (spool.folder / "metadata.json").write_text('{"title": "Night", "fps": "60"}')
        assert publish(broadcast, chunks) == 0
        broadcast.finish()
    assert program(spool) == {"Title": "Night", "Source": "audio: aac; fps: 60; size: 160x90; video: h264"}


def test_a_look_at_the_lock_does_not_end_a_run(
    spool: BroadcastSpool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``run_alive`` holds the lock for a moment."""
    with (spool.folder / RUN_LOCK).open("ab") as peek:
        fcntl.flock(peek, fcntl.LOCK_SH)
        looking = threading.Timer(0.2, fcntl.flock, (peek, fcntl.LOCK_UN))
        looking.start()
        with monkeypatch.context() as patch:
            patch.setattr("streamwave.pipeline.live.HOLD_S", 60.0)  # on a busy machine, the moment is a long one
            with LiveBroadcast(spool, settings(tmp_path), "run"):
                assert spool.run_alive()
        looking.join()
    held = spool.hold_run()
    assert held is not None
    with (
        held,
        pytest.raises(SpoolError, match="another run publishes show/"),
        LiveBroadcast(spool, settings(tmp_path), "run"),
    ):
        pass


@pytest.fixture
def two(tmp_path: Path, clip: Clip) -> BroadcastSpool:
    """A broadcast for two outputs of which one session has been received."""
    places = ", ".join(str(tmp_path / name) for name in ("a", "b"))
    found, session = open_session(tmp_path / "spool", "show", output=places, window_ms=0)
    Segmenter(Options(source=f"file:{clip.path}", spool=session, segment_ms=1000)).run()
    return found


def listed(place: Path) -> list[str]:
    """The states of the broadcasts in an output's list."""
    index = place / "broadcasts.json"
    return [one["state"] for one in json.loads(index.read_bytes())["broadcasts"]] if index.exists() else []


def objects(place: Path) -> dict[str, bytes]:
    """What an output holds, but for who wrote it, and when."""
    found = {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}
    stamped = (MANIFEST, LIVE_MANIFEST, FENCE, ENTRY, INDEX)
    return {name: data for name, data in found.items() if not name.endswith(stamped)}


@pytest.mark.parametrize("returns", [True, False], ids=["returns", "stays away"])
def test_the_end_waits_for_no_output_that_is_away(two: BroadcastSpool, tmp_path: Path, returns: bool) -> None:
    a, b, away = tmp_path / "a", tmp_path / "b", tmp_path / "away"
    path = f"show/{two.broadcast}"
    waits: list[str] = []
    chosen = settings(tmp_path, output_dir=f"{a}, {b}")

    def on_wait(news: str, stop: Callable[[], None]) -> None:
        waits.append(news)
        # The recording is complete where it can be; who asks for the status is told what the run is waiting for.
        mpd = etree.fromstring((a / path / MANIFEST).read_bytes())
        assert mpd.get("type") == "static"
        assert listed(a) == ["ended"]
        status = two.status()
        assert status["state"] == "finishing" and not two.finished
        assert any(news in str(warning) for warning in cast(list[str], status["warnings"]))
        if returns:
            b.unlink()
            away.rename(b)
        else:
            stop()

    with LiveBroadcast(two, chosen, "run") as broadcast:
        chunks = broadcast.chunks()
        publish(broadcast, chunks, 1)
        wait_for(
            lambda: broadcast.publication and broadcast.publication.lags()[1]["chunks"] == 1, "the first chunk", 120
        )
        b.rename(away)
        b.write_text("in the way")
        assert publish(broadcast, chunks) == CHUNKS - 1
        broadcast.finish(on_wait)
    (news,) = waits
    assert news.startswith(f"the recording is complete at {a / path}; the run waits until ")
    assert f" UTC for {b / path} (does not hold the broadcast any more; " in news
    assert two.finished and two.status()["state"] == "finished"
    if not returns:
        assert list(broadcast.left_behind) == [str(b / path)]
        last = cast(list[str], two.status()["warnings"])[-1]
        assert f"the recording is incomplete at {b / path}" in last and f"streamwave broadcasts catch-up {path}" in last
        b.unlink()
        away.rename(b)
        output, found = catalog.find(catalog.outputs(chosen), path, time.time_ns() // 1_000_000)[0][0]
        done = catch_up(output, found, chosen.outputs, chosen, waits.append)
        assert done.complete == [str(a / path), str(b / path)] and len(waits) == 1
    else:
        assert broadcast.left_behind == {}
    assert objects(a) == objects(b)
    assert listed(b) == ["ended"]
    for one in (a, b):
        small = representations(one / path)["small"]
        assert len(list(decode_pictures(small.data, small.timescale))) == 25 * CHUNKS


def test_nor_for_one_that_does_not_even_answer(two: BroadcastSpool, tmp_path: Path) -> None:
    """It refuses nothing, and hangs: for minutes that would be no error."""
    waits: list[str] = []

    def on_wait(news: str, stop: Callable[[], None]) -> None:
        waits.append(news)
        assert listed(tmp_path / "a") == ["ended"]
        stop()
        hangs.clear()

    hangs = threading.Event()
    with LiveBroadcast(two, settings(tmp_path), "run") as broadcast:
        chunks = broadcast.chunks()
        publish(broadcast, chunks, 1)
        assert broadcast.publication is not None
        last = broadcast.publication.queues[1].publication
        assert last is not None
        put = last.store.put

        def put_late(name: str, data: bytes) -> None:
            wait_for(lambda: not hangs.is_set(), "the answer")
            put(name, data)

        last.store.put = put_late  # type: ignore[method-assign]
        hangs.set()
        assert publish(broadcast, chunks) == CHUNKS - 1
        broadcast.finish(on_wait)
    assert len(waits) == 1 and "(it is behind)" in waits[0]
    assert two.finished


def test_a_list_that_cannot_be_written_at_the_end_is_written_later(spool: BroadcastSpool, tmp_path: Path) -> None:
    """Otherwise the player page would call the recording live for ever."""
    index, waits = tmp_path / "out" / "broadcasts.json", list[str]()

    def on_wait(news: str, stop: Callable[[], None]) -> None:
        waits.append(news)
        assert is_recorded(spool) and not spool.finished
        index.rmdir()

    with LiveBroadcast(spool, settings(tmp_path), "run") as broadcast:
        publish(broadcast, broadcast.chunks())
        assert listed(tmp_path / "out") == ["live"]
        index.unlink()
        index.mkdir()
        broadcast.finish(on_wait)
    assert len(waits) == 1 and waits[0].startswith("the list of broadcasts still shows it as live at ")
    assert listed(tmp_path / "out") == ["ended"] and spool.finished


def test_who_does_not_wait_for_the_list_has_the_recording(spool: BroadcastSpool, tmp_path: Path) -> None:
    with LiveBroadcast(spool, settings(tmp_path), "run") as broadcast:
        publish(broadcast, broadcast.chunks())
        (tmp_path / "out" / "broadcasts.json").unlink()
        (tmp_path / "out" / "broadcasts.json").mkdir()
        broadcast.finish(lambda news, stop: stop())
    assert is_recorded(spool) and spool.finished
    warnings = cast(list[str], spool.status()["warnings"])
    assert len([text for text in warnings if text.startswith("the list of broadcasts was not updated: ")]) == 1


def test_a_live_broadcast_is_listed_as_soon_as_the_list_can_be_written(
    spool: BroadcastSpool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "LIVE_AGAIN_S", 0.0)
    with LiveBroadcast(spool, settings(tmp_path), "run") as broadcast:
        chunks = broadcast.chunks()
        (tmp_path / "out" / "broadcasts.json").mkdir(parents=True)
        publish(broadcast, chunks, 1)
        (tmp_path / "out" / "broadcasts.json").rmdir()
        publish(broadcast, chunks, 1)
        assert listed(tmp_path / "out") == ["live"]


def test_a_broadcast_that_was_cancelled_keeps_the_addresses_of_its_cdns(spool: BroadcastSpool, tmp_path: Path) -> None:
    chosen = settings(tmp_path, base_urls="https://a.example/tv/, https://b.example/tv/")
    with LiveBroadcast(spool, chosen, "run") as broadcast:
        publish(broadcast, broadcast.chunks(), 1)
    finish_cut_off(spool, chosen)
    assert is_recorded(spool)
    mpd = etree.fromstring((root(spool) / MANIFEST).read_bytes())
    path = f"show/{spool.broadcast}/"
    addresses = [f"https://{host}.example/tv/{path}" for host in ("a", "b")]
    assert [one.text for one in mpd.findall("mpd:BaseURL", MPD_NS)] == addresses
    assert all(f"\n{address}" in (root(spool) / "master.m3u8").read_text() for address in addresses)


def test_what_was_published_on_a_disk_that_is_away_is_not_given_up(spool: BroadcastSpool, tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    with LiveBroadcast(spool, chosen, "run") as broadcast:
        publish(broadcast, broadcast.chunks(), 1)
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.rename(elsewhere)
    for _ in range(2):  # gone, and empty as a mount point is
        with pytest.raises(OutputError, match=r"restore it \(is the disk mounted\?\), or discard it with"):
            finish_cut_off(spool, chosen)
        assert not spool.finished and spool.sessions()
        out.mkdir(exist_ok=True)
    out.rmdir()
    elsewhere.rename(out)
    finish_cut_off(spool, chosen)
    assert is_recorded(spool) and spool.finished


def test_what_somebody_has_deleted_is_given_up(spool: BroadcastSpool, tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    with LiveBroadcast(spool, chosen, "run") as broadcast:
        publish(broadcast, broadcast.chunks(), 1)
    shutil.rmtree(root(spool))
    finish_cut_off(spool, chosen)
    assert spool.finished and not spool.sessions()


def is_recorded(spool: BroadcastSpool) -> bool:
    """Whether the manifest is that of a recording."""
    return etree.fromstring((root(spool) / MANIFEST).read_bytes()).get("type") == "static"
