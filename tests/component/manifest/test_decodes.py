"""FFmpeg as a player: it reads both manifests to the end without a warning and finds every picture and sample."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamwave import layout
from streamwave.manifest.dash import render_mpd
from streamwave.manifest.hls import playlist_renditions, render_master, render_media
from streamwave.manifest.timeline import SegmentRef, Timeline, Track
from streamwave.timing import AAC_FRAME
from tests.unit.manifest.samples import AUDIO, CREATED_MS, FULL, NTSC, SMALL, period


def make_broadcast(root: Path) -> Timeline:
    """Three seconds of two renditions and audio, encoded by FFmpeg and stored under ``root``."""
    one = period("p0", 0)
    for rendition, source in ((FULL, "320x180"), (SMALL, "160x90"), (AUDIO, "")):
        target = root / f"{rendition.name}.mp4"
        if rendition.kind == "video":
            given = f"-i testsrc2=r=30000/1001:s={source} -frames:v 90 -c:v libx264 -preset ultrafast -g 60"
            given += " -pix_fmt yuv420p -video_track_timescale 30000 -movflags +cmaf+frag_keyframe+skip_sidx"
            per_frame, timescale = 1001, 30000
        else:
            given = "-i sine=d=3:r=48000 -ac 2 -c:a aac -frag_duration 2000000 -movflags +cmaf+skip_sidx"
            per_frame, timescale = AAC_FRAME, 48000
        command = ["ffmpeg", "-nostdin", "-v", "error", "-f", "lavfi", *given.split(), "-f", "mp4", str(target)]
        subprocess.run(command, check=True, timeout=60)
        codecs = "avc1.42c00d" if rendition.kind == "video" else "mp4a.40.2"
        is_video = rendition.kind == "video"
        stored = Track(rendition, timescale, codecs, 0, frame_rate=NTSC if is_video else None)
        init, fragments = b"", list[bytes]()
        for kind, box in _boxes(target.read_bytes()):
            if kind in (b"ftyp", b"moov"):
                init += box
            elif kind == b"moof":
                fragments.append(box)
            elif kind == b"mdat":
                fragments[-1] += box
        _store(root / layout.init_name("p0", rendition.name), init)
        time = 0
        for data in fragments:
            frames = int.from_bytes(data[(at := data.index(b"trun") + 8) : at + 4])
            _store(root / layout.segment_name("p0", rendition.name, time), data)
            stored.append(SegmentRef(time, frames * per_frame, len(data)))
            time += frames * per_frame
        one.tracks[rendition.name] = stored
        target.unlink()
    return Timeline(CREATED_MS, 2000, [one], ended=True)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        yield data[at + 4 : at + 8], data[at : at + size]
        at += size


def _store(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("broadcast")
    timeline = make_broadcast(root)
    (root / layout.MANIFEST).write_bytes(render_mpd(timeline, now_unix_ms=CREATED_MS))
    (root / layout.MASTER).write_bytes(render_master(timeline))
    for rendition in playlist_renditions(timeline):
        (root / layout.playlist_name(rendition.name)).write_bytes(render_media(timeline, rendition.name))
    return root


@pytest.mark.parametrize("name", [layout.MANIFEST, layout.MASTER])
def test_ffmpeg_decodes_every_rendition_in_silence(root, name):
    # framecrc writes a line per decoded picture or block of samples: stream, dts, pts, duration, size, sum.
    command = ["ffmpeg", "-nostdin", "-v", "warning", "-i", name, "-map", "0", "-f", "framecrc", "-"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split(",") for line in done.stdout.splitlines() if not line.startswith("#")]
    pictures = {stream: [row for row in rows if row[0] == stream] for stream in {row[0] for row in rows}}
    samples = [stream for stream in pictures if f"#media_type {stream}: audio" in done.stdout]
    assert len(samples) == 1 and len(pictures) == 3
    counted_samples = sum(int(row[3]) for row in pictures.pop(samples[0]))
    assert [len(rows) for rows in pictures.values()] == [90, 90]
    assert 144_000 <= counted_samples <= 144_000 + 2 * 1024
