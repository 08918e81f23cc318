"""A chunk on disk keeps every packet's time to the millisecond."""

from __future__ import annotations

import errno
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from streamwave.errors import SourceError
from streamwave.model import CONTAINERS
from streamwave.mp4 import read_adts
from streamwave.receive.chunkfile import VideoChunk, write_audio
from tests.support.media import ffmpeg, make_clip


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


@pytest.mark.parametrize(
    ("kind", "codec"),
    [
        ("mov", ("png", "-pix_fmt", "rgb24")),
        ("mov", ("qtrle",)),
        ("mov", ("dnxhd", "-profile:v", "dnxhr_hq", "-pix_fmt", "yuv422p")),
        ("mov", ("v210",)),
        ("mov", ("rawvideo", "-pix_fmt", "uyvy422")),
        ("mov", ("jpeg2000",)),
        ("avi", ("rawvideo", "-pix_fmt", "bgr24")),
        ("avi", ("msmpeg4v2",)),
        ("avi", ("huffyuv",)),
        ("avi", ("utvideo", "-pix_fmt", "yuv420p")),
        ("mkv", ("utvideo", "-pix_fmt", "gbrp")),
        ("avi", ("speedhq", "-pix_fmt", "yuv422p")),
        ("y4m", ("wrapped_avframe", "-pix_fmt", "yuv420p")),
        ("y4m", ("wrapped_avframe", "-pix_fmt", "yuv444p")),
        ("y4m", ("wrapped_avframe", "-pix_fmt", "yuv422p10le", "-strict", "-1")),
        ("nut", ("rawvideo", "-pix_fmt", "nv12")),
        ("nut", ("rawvideo", "-pix_fmt", "yuv411p")),
        ("nut", ("rawvideo", "-pix_fmt", "gray")),
        ("asf", ("wmv2",)),
        ("flv", ("flv1",)),
        ("gif", ("gif",)),
        ("mkv", ("libvpx-vp9", "-speed", "8")),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_every_codec_has_a_container_that_keeps_its_pictures_and_their_times(
    tmp_path: Path, kind: str, codec: tuple[str, ...]
) -> None:
    source = tmp_path / f"a.{kind}"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=256x144:rate=25", "-frames:v", "12", "-c:v", *codec, str(source))
    with av.open(str(source)) as container:
        wanted = [frame.to_ndarray(format="rgb24").tobytes() for frame in container.decode(video=0)]
    assert len(set(wanted)) == 12
    starts = [7013 + 40 * n + n % 2 for n in range(12)]
    with av.open(str(source)) as container:
        chunk = VideoChunk(tmp_path, 0, container.streams.video[0], starts[0])
        for packet, start in zip((p for p in container.demux(video=0) if p.size), starts, strict=True):
            chunk.write(packet, start, 40)
    assert chunk.close() > 0 and chunk.refused == 0
    with av.open(str(chunk.path), format=CONTAINERS[chunk.path.suffix[1:]]) as container:
        found = [
            ((f.pts or 0) * (f.time_base or 0) * 1000, f.to_ndarray(format="rgb24").tobytes())
            for f in container.decode(video=0)
        ]
    assert [time for time, _ in found] == starts
    assert [data for _, data in found] == wanted


@pytest.mark.parametrize(
    "codec", [("dnxhd", "-profile:v", "dnxhr_sq", "-pix_fmt", "yuv422p"), ("rawvideo", "-pix_fmt", "bgra")]
)
def test_every_picture_in_quicktime_lasts_until_the_next_one(tmp_path: Path, codec: tuple[str, ...]) -> None:
    """FFmpeg shows the last one for as long as the one before it, and a picture that lasts no time not at all."""
    source = tmp_path / "a.mov"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=256x144:rate=25", "-frames:v", "12", "-c:v", *codec, str(source))
    with av.open(str(source)) as container:
        chunk = VideoChunk(tmp_path, 0, container.streams.video[0], 1000)
        for number, packet in enumerate(p for p in container.demux(video=0) if p.size):
            chunk.write(packet, 1000 + 40 * number, 40)
    chunk.close()
    with av.open(str(chunk.path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    assert chunk.path.suffix == ".mov" and [packet.duration for packet in packets] == [40] * 12


def test_a_codec_without_a_container_is_named(tmp_path: Path) -> None:
    source = tmp_path / "a.apng"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x64:rate=25", "-frames:v", "2", str(source))
    said = "video in apng cannot be cut into chunks; convert the source to H.264"
    with av.open(str(source)) as container, pytest.raises(SourceError, match=said):
        VideoChunk(tmp_path, 0, container.streams.video[0], 0)
    assert list(tmp_path.iterdir()) == [source]
