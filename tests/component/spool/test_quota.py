"""What one stream may use: it ends with all that was received of it, and the others do not notice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from streamwave.errors import LimitError
from streamwave.model import StreamLimits
from streamwave.receive.chunkfile import PACKET_BYTES
from streamwave.spool import quota
from streamwave.spool.broadcast import open_session
from streamwave.spool.journal import LIMIT_REACHED, JournalReader
from streamwave.spool.pace import HOUR_FACTOR, MOST_OF_CONNECTION, Pace
from streamwave.spool.quota import INODE_BYTES, check_share, held_by_stream, usage
from tests.matrix.flv import Tag, read_tags, write_tags
from tests.support.disk import fill, small_disk
from tests.support.media import Clip
from tests.support.media import make_clip as make_large_clip
from tests.support.segmented import Spool, contiguous, read, segment

PLAIN = ("-bf", "0")
#: Pictures that cannot be compressed: about 5 kB each.
NOISE = ("-vf", "noise=alls=100:allf=t", "-crf", "10", "-bf", "0")


def make_clip(
    path: Path, frames: int, *, gop: int = 25, options: tuple[str, ...] = PLAIN, size: str = "160x90"
) -> Clip:
    return make_large_clip(path, frames=frames, gop=gop, options=options, size=size)


def wait_in(root: Path, stream: str, size: int, *, session: str = "1/000000", name: str = "000000.mkv") -> Path:
    """A chunk that waits to be published; it takes no space on the disk."""
    path = root / stream / session / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)
    return path


def ended_by_limit(spool: Spool, *words: str) -> None:
    """It ended because of a limit, and everything that its journal tells of is there and can be decoded."""
    assert spool.end is not None and spool.end.error is not None
    assert spool.end.reason == LIMIT_REACHED
    for word in words:
        assert word in spool.end.error, spool.end.error
    contiguous(spool)
    named = {str(name) for chunk in spool.chunks for name in (chunk.video_file, chunk.audio_file)}
    assert {path.name for path in spool.folder.glob("0*")} == named


def test_who_comes_next_always_finds_room_and_the_fullest_reaches_its_limit_first(tmp_path: Path) -> None:
    limits = StreamLimits(spool_bytes=10**9)
    shares = []
    for number in range(6):
        stream, held = f"greedy{number}", INODE_BYTES
        check_share(tmp_path, stream, limits)
        while not usage(tmp_path, stream, limits, held_by_stream(tmp_path)).full:
            held += 2_000_000
            wait_in(tmp_path, stream, held)
        shares.append(held)
        before = held_by_stream(tmp_path)
        # Those who were there before and hold more have had to end; a small one need not, however many there are.
        wait_in(tmp_path, "modest", 2_000_000)
        check_share(tmp_path, "modest", limits)
        assert before[stream] == held
    assert shares[0] == pytest.approx(500_000_000, rel=0.01)
    assert shares[1] == pytest.approx(250_000_000, rel=0.02)
    # Two that grow at the same time both end at a third.
    held = 0
    while not usage(tmp_path, "a", limits, {"a": held, "b": held}).full:
        held += 1_000_000
    assert held == pytest.approx(10**9 / 3, rel=0.01)


def test_what_counts_is_all_that_waits_of_a_stream_in_whatever_session_and_place(tmp_path: Path) -> None:
    for session, name in (("1/000000", "000000.mkv"), ("1/000001", "stored-000000.mkv"), ("2/000000", "000001.aac")):
        wait_in(tmp_path, "show", 1_000_000, session=session, name=name)
    wait_in(tmp_path, "show", 50_000_000, name="journal.jsonl")
    wait_in(tmp_path, "tiny", 1)
    assert held_by_stream(tmp_path) == {"show": 3_000_000, "tiny": INODE_BYTES}
    with pytest.raises(LimitError) as refused:
        check_share(tmp_path, "show", StreamLimits(spool_bytes=5_000_000))
    assert str(refused.value) == (
        "show has 3 MB of chunks waiting to be published, and may have 50 % (STREAMWAVE_SPOOL_SHARE_PERCENT) of the "
        "4.98 MB that other streams leave of STREAMWAVE_SPOOL_MAX_GB; lower its bit rate, make publishing faster, or raise "
        "either limit"
    )
    check_share(tmp_path, "show", StreamLimits(spool_bytes=5_000_000, share_percent=90))
    check_share(tmp_path / "none", "show", StreamLimits(spool_bytes=5_000_000))
    assert held_by_stream(tmp_path / "none") == {}


def test_a_disk_smaller_than_the_bound_is_shared_in_the_same_way(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 8000) as disk:
        path = wait_in(disk, "show", 1_000_000)
        path.write_bytes(bytes(3_000_000))
        check_share(disk, "show", StreamLimits(spool_bytes=10**9))
        ballast = fill(disk, but=2_000_000)
        with pytest.raises(LimitError, match=r"that the disk of the spool \(STREAMWAVE_SPOOL_DIR\) has left for it"):
            check_share(disk, "show", StreamLimits(spool_bytes=10**9))
        check_share(disk, "modest", StreamLimits(spool_bytes=10**9))
        ballast.unlink()


def test_a_stream_that_fills_its_share_ends_within_its_chunk_and_no_frame_of_any_is_lost(tmp_path: Path) -> None:
    greedy = make_clip(tmp_path / "greedy.flv", 250, gop=10_000, options=NOISE)
    modest = make_clip(tmp_path / "modest.flv", 200)
    root = tmp_path / "spool"
    size = greedy.path.stat().st_size
    limits = StreamLimits(spool_bytes=size * 7 // 10)
    found = segment(greedy.path, root / "greedy" / "1" / "000000", live=True, stream_limits=limits)
    ended_by_limit(found, "greedy has ", "STREAMWAVE_SPOOL_SHARE_PERCENT")
    pictures = [n for chunk in found.pictures() for n in chunk]
    assert len(found.chunks) == 1 and pictures == list(range(len(pictures))) and 60 < len(pictures) < 200
    assert held_by_stream(root)["greedy"] < size * 0.6
    # It comes back, and is not received before some of it is published.
    again = segment(greedy.path, root / "greedy" / "1" / "000001", live=True, stream_limits=limits)
    ended_by_limit(again)
    assert sum(chunk.pictures for chunk in again.chunks) <= 2
    other = segment(modest.path, root / "modest" / "1" / "000000", segment_ms=1000, live=True, stream_limits=limits)
    assert other.end is not None and other.end.error is None
    assert [n for chunk in other.pictures() for n in chunk] == list(range(200))
    for chunk in found.chunks:  # they are published
        for name in (chunk.video_file, chunk.audio_file):
            (found.folder / str(name)).unlink()
    third = segment(greedy.path, root / "greedy" / "1" / "000002", live=True, stream_limits=limits)
    assert sum(chunk.pictures for chunk in third.chunks) > 30


def test_the_spool_is_looked_at_now_and_then_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks, look = list[Path](), quota.held_by_stream

    def counted(root: Path) -> dict[str, int]:
        looks.append(root)
        return look(root)

    monkeypatch.setattr(quota, "held_by_stream", counted)
    clip = make_clip(tmp_path / "a.flv", 250)
    found = segment(
        clip.path, tmp_path / "s" / "show" / "1" / "000000", live=True, stream_limits=StreamLimits(spool_bytes=10**9)
    )
    assert found.end is not None and found.end.error is None
    assert looks == [tmp_path / "s"]


@pytest.mark.parametrize("frozen", [False, True], ids=["no keyframe", "clock stands still"])
def test_one_chunk_does_not_grow_without_bound(tmp_path: Path, frozen: bool) -> None:
    clip = make_clip(tmp_path / "a.flv", 250, gop=25 if frozen else 10_000, options=NOISE)
    if frozen:
        write_tags(clip.path, [replace(tag, ms=min(tag.ms, 500)) for tag in read_tags(clip.path)])
    limit = clip.path.stat().st_size // 2
    session = tmp_path / "spool" / "show" / "1" / "000000"
    found = segment(clip.path, session, live=True, stream_limits=StreamLimits(chunk_bytes=limit))
    ended_by_limit(found, "a chunk has grown beyond", "STREAMWAVE_MAX_CHUNK_MB", "keyframe interval to 2 s")
    assert limit * 0.5 < (session / str(found.chunks[0].video_file)).stat().st_size < limit * 1.1
    assert 60 < sum(chunk.pictures for chunk in found.chunks) < 200
    # A file is not live: it is read as far as its consumer keeps up.
    free = segment(clip.path, tmp_path / "file", stream_limits=StreamLimits(chunk_bytes=limit))
    assert free.end is not None and free.end.error is None


def test_packets_that_hold_nothing_have_a_bound_too(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.flv", 500, gop=10_000, size="32x32")
    assert clip.path.stat().st_size < 500 * PACKET_BYTES
    session = tmp_path / "spool" / "show" / "1" / "000000"
    found = segment(clip.path, session, live=True, stream_limits=StreamLimits(chunk_bytes=200 * PACKET_BYTES))
    ended_by_limit(found, "a chunk has grown beyond 0.2 MB")


def changing(tmp_path: Path, times: int) -> Path:
    """A live stream whose pictures change their size every second."""
    tags: list[Tag] = []
    for number in range(times):
        clip = make_clip(tmp_path / f"{number % 2}.flv", 25, size=("160x90", "128x72")[number % 2])
        tags += [replace(tag, ms=tag.ms + 1000 * number) for tag in read_tags(clip.path)]
    write_tags(tmp_path / "changing.flv", tags)
    return tmp_path / "changing.flv"


def test_a_connection_does_not_begin_session_after_session(tmp_path: Path) -> None:
    spool, session = open_session(tmp_path / "spool", "show", output="/out", window_ms=0)
    segment(
        changing(tmp_path, 8), session, segment_ms=1000, live=True, stream_limits=StreamLimits(sessions_per_minute=3)
    )
    found = [read(folder) for folder in spool.sessions()]
    assert len(found) == 4  # the first is that of the connection itself
    ended_by_limit(found[-1], "show has started 3 sessions in 1 min (STREAMWAVE_MAX_SESSIONS_PER_MINUTE)")
    assert [sum(chunk.pictures for chunk in one.chunks) for one in found] == [25] * 4
    assert all(JournalReader(one.folder).read() for one in found)


def test_the_pace_of_sessions() -> None:
    now = [0.0]
    pace = Pace("show", 2, lambda: now[0])
    for at in (0.0, 59.0, 60.0):
        now[0] = at
        pace.take()
    now[0] = 118.9
    with pytest.raises(LimitError, match="show has started 2 sessions in 1 min"):
        pace.take()
    now[0] = 119.0  # what was refused does not count
    pace.take()
    slow = Pace("show", 2, lambda: now[0])
    for _ in range(2 * HOUR_FACTOR):
        now[0] += 31
        slow.take()
    now[0] += 31
    with pytest.raises(LimitError, match="60 sessions in 60 min"):
        slow.take()
    long = Pace("show", 1, lambda: now[0])
    for _ in range(MOST_OF_CONNECTION):
        now[0] += 3600
        long.take()
    now[0] += 3600
    with pytest.raises(LimitError, match="reconnect"):
        long.take()
    free = Pace("show", 0)
    for _ in range(1000):
        free.take()
