"""A chunk on disk keeps every packet's time to the millisecond."""

from __future__ import annotations

import errno
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from streamwave.mp4 import read_adts
from streamwave.spool.chunkfile import VideoChunk, write_audio
from tests.support.media import make_clip


@pytest.fixture(scope="module")
def packets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, list[Any]]:
    """A video stream with B-frames and its packets."""
    clip = make_clip(tmp_path_factory.mktemp("clip") / "a.mp4", Fraction(30000, 1001), 30, audio=False)
    container = av.open(str(clip.path))
    stream = container.streams.video[0]
    return stream, [packet for packet in container.demux(stream) if packet.size]


def times(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        assert container.streams.video[0].time_base == Fraction(1, 1000)
        return sorted(p.pts for p in container.demux(video=0) if p.size and p.pts is not None)


def test_times_survive_wherever_in_the_session(tmp_path: Path, packets: tuple[Any, list[Any]]) -> None:
    stream, all_of_them = packets
    for number, start_ms in enumerate((0, 2002, 5 * 24 * 3600 * 1000)):
        chunk = VideoChunk(tmp_path, number, stream, start_ms)
        wanted = []
        for packet in all_of_them:
            pts = start_ms + round(packet.pts * packet.time_base * 1000)
            copy = av.Packet(bytes(packet))
            copy.is_keyframe = packet.is_keyframe
            chunk.write(copy, pts, 33)
            wanted.append(pts)
        assert chunk.starts_ms == wanted and chunk.end_ms == max(wanted) + 33
        assert chunk.close() == chunk.path.stat().st_size > 0
        assert times(chunk.path) == sorted(wanted)
        assert chunk.path.name == f"{number:06d}.mkv" and chunk.refused == 0


def test_only_the_time_at_which_a_picture_is_shown_matters(tmp_path: Path, packets: tuple[Any, list[Any]]) -> None:
    stream, (first, *_) = packets
    chunk = VideoChunk(tmp_path, 0, stream, 0)
    for pts in (0, 8, 4, 4, 12):
        chunk.write(av.Packet(bytes(first)), pts, 4)
    chunk.close()
    assert times(chunk.path) == [0, 4, 4, 8, 12] and chunk.refused == 0


def test_an_abandoned_chunk_leaves_no_file(tmp_path: Path, packets: tuple[Any, list[Any]]) -> None:
    chunk = VideoChunk(tmp_path, 0, packets[0], 0)
    chunk.write(av.Packet(bytes(packets[1][0])), 0, 40)
    chunk.abandon()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_not_taken_for_a_bad_packet(tmp_path: Path, packets: tuple[Any, list[Any]]) -> None:
    (tmp_path / "000000.mkv").symlink_to("/dev/full")
    chunk = VideoChunk(tmp_path, 0, packets[0], 0)
    with pytest.raises(OSError) as caught:
        for n in range(500):
            packet = av.Packet(bytes(packets[1][0]))
            packet.is_keyframe = True
            chunk.write(packet, 40 * n, 40)
    assert caught.value.errno == errno.ENOSPC and chunk.refused == 0
    with pytest.raises(OSError):
        chunk.abandon()
    assert list(tmp_path.iterdir()) == []


def test_sound_is_stored_as_adts(tmp_path: Path) -> None:
    frames = [bytes([n]) * (10 + n) for n in range(5)]
    name, size = write_audio(tmp_path, 3, frames)
    assert name == "000003.aac" and (tmp_path / name).stat().st_size == size
    assert read_adts((tmp_path / name).read_bytes()) == frames
