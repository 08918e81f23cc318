"""A spool whose disk fills up: all that was received is there and can be published, in the space that is left for that."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from streamwave.receive.segmenter import Segmenter
from streamwave.spool.broadcast import open_session
from streamwave.spool.follow import Follower
from streamwave.spool.journal import SPOOL_FAILED, ChunkLine, EndRecord, JournalReader, JournalWriter, OpenRecord
from streamwave.spool.options import Options
from tests.support.disk import fill, small_disk
from tests.support.media import Clip, make_clip


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 8000) as found:
        yield found


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return make_clip(tmp_path_factory.mktemp("clips") / "a.mp4", frames=250, gop=25, size="640x360")


def receive(clip: Clip, root: Path) -> tuple[Path, list[ChunkLine], EndRecord]:
    _, session = open_session(root, "stage", output="out", window_ms=60_000)
    Segmenter(Options(source=f"file:{clip.path}", spool=session, segment_ms=1000)).run()
    lines = JournalReader(session).read()
    end = lines[-1]
    assert isinstance(end, EndRecord)
    return session, [line for line in lines if isinstance(line, ChunkLine)], end


def test_what_was_received_is_there_and_there_is_space_to_publish_it(disk: Path, clip: Clip) -> None:
    # Room above the reserve of a twentieth for some chunks, not for all.
    fill(disk, but=400_000 + clip.path.stat().st_size // 2)
    session, chunks, end = receive(clip, disk)
    assert (
        end.reason == SPOOL_FAILED
        and "no space left" in str(end.error)
        and "publishing the received chunks" in str(end.error)
    )
    assert [line.chunk.number for line in chunks] == list(range(len(chunks))) and 2 <= len(chunks) < 10
    pictures = 0
    for line in chunks:
        with av.open(str(session / str(line.chunk.video_file))) as container:
            pictures += sum(1 for _ in container.decode(video=0))
    assert pictures == 25 * len(chunks) == sum(line.chunk.pictures for line in chunks)
    free = os.statvfs(disk)
    assert free.f_bavail * free.f_frsize >= 200_000, "nothing is left for the work of publishing"
    # The run goes over it to its end, as over any session.
    follower = Follower(session)
    assert [record.number for record in follower.chunks()] == [line.chunk.number for line in chunks]


def test_nothing_is_begun_on_a_full_disk_and_everything_again_when_there_is_space(disk: Path, clip: Clip) -> None:
    ballast = fill(disk, but=100_000)
    session, chunks, end = receive(clip, disk)
    assert chunks == [] and end.reason == SPOOL_FAILED
    assert sorted(path.suffix for path in session.iterdir() if path.suffix in (".mkv", ".aac")) == []
    ballast.unlink()
    again, chunks, end = receive(clip, disk)
    assert again.parent == session.parent, "it is another broadcast"
    assert (len(chunks), end.error) == (10, None)


def test_no_hole_when_space_comes_back_in_between(tmp_path: Path, disk: Path, clip: Clip) -> None:
    received, chunks, _ = receive(clip, tmp_path)
    opened = JournalReader(received).read()[0]
    assert isinstance(opened, OpenRecord)
    _, session = open_session(disk, "stage", output="out", window_ms=60_000)
    writer = JournalWriter(session)
    writer.append(opened)
    ballast = fill(disk, but=100_000)
    writer.append(chunks[0])  # it has been received
    with pytest.raises(OSError, match="no space left"):
        writer.append(chunks[1])
    ballast.unlink()
    with pytest.raises(OSError, match="no space left"):
        writer.append(chunks[2])
    writer.append(EndRecord(reason="end"))
    writer.close()
    assert [type(line) for line in JournalReader(session).read()] == [OpenRecord, ChunkLine, EndRecord]
