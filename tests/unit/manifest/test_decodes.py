"""FFmpeg as a player: it reads both manifests to the end without a warning and finds every picture and sample."""

import subprocess

import pytest

from streamwave import layout
from streamwave.manifest.dash import render_mpd
from streamwave.manifest.hls import playlist_renditions, render_master, render_media
from tests.unit.manifest.samples import CREATED_MS, make_broadcast


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
