"""What a segmenter makes of sources that become larger than they may, and how much it may take itself."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from streamwave.ffmpeg.limits import SourceLimits
from streamwave.receive.bounded_queue import BoundedQueue
from streamwave.receive.launch import start_segmenter, stop_segmenter
from streamwave.receive.reader import QUEUE_BYTES
from streamwave.receive.sizes import stated_size
from streamwave.spool.options import Options
from tests.support.hostile import hevc_sps, large_h264, sps
from tests.support.media import ffmpeg, make_clip
from tests.support.segmented import contiguous, read, segment
from tests.support.sources import SIZE, joined

#: As large as SIZE, and no larger.
SMALL = SourceLimits(max_pixels=160 * 90)


@pytest.mark.parametrize("kind", ["flv", "ts"])
def test_pictures_that_become_too_large_end_the_session_in_a_sentence(tmp_path: Path, kind: str) -> None:
    """What came before them is there."""
    first = make_clip(tmp_path / f"a.{kind}", frames=50, gop=25, size=SIZE)
    second = make_clip(tmp_path / f"b.{kind}", frames=50, gop=25, size="320x180")
    source = joined(first.path, second.path, tmp_path / f"c.{kind}", at_ms=2000)
    found = segment(source, tmp_path / "spool", limits=SMALL)
    assert found.end is not None and found.end.reason == "source failed"
    assert found.end.error == (
        f"{source}: frames of 320x180 are larger than STREAMWAVE_MAX_PIXELS allows (14400 pixels); scale the source "
        "down, or raise that setting"
    )
    contiguous(found)
    assert sum(chunk.pictures for chunk in found.chunks) == 50


def test_so_do_those_of_hevc(tmp_path: Path) -> None:
    for name, size in (("a", "160x96"), ("b", "320x192")):
        x265 = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:keyint=25")
        ffmpeg("-f", "lavfi", "-i", f"testsrc2=s={size}:r=25:d=2", *x265, str(tmp_path / f"{name}.ts"))
    source = joined(tmp_path / "a.ts", tmp_path / "b.ts", tmp_path / "c.ts", at_ms=2000)
    found = segment(source, tmp_path / "spool", limits=SourceLimits(max_pixels=160 * 96))
    assert found.end is not None and "frames of 320x192 are larger" in str(found.end.error)


def test_a_header_that_lies_is_found_out_by_the_parameter_sets(tmp_path: Path) -> None:
    """Matroska says 64x64, and so do the first pictures."""
    raw = large_h264(tmp_path / "a.h264", after=3)
    ffmpeg("-r", "10", "-f", "h264", "-i", str(raw), "-c", "copy", str(tmp_path / "a.mkv"))
    begun = time.monotonic()
    found = segment(tmp_path / "a.mkv", tmp_path / "spool")
    assert found.end is not None and "frames of 16384x8640 are larger than STREAMWAVE_MAX_PIXELS" in str(
        found.end.error
    )
    assert sum(chunk.pictures for chunk in found.chunks) == 30
    assert time.monotonic() - begun < 30  # nothing of that size was decoded


def test_parameter_sets_are_found_in_packets_and_in_records() -> None:
    big, nal = sps(16384, 8640), hevc_sps(16384, 8640, 3)
    annex_b = b"\0\0\0\1\x09\xf0\0\0\0\1" + big
    assert stated_size("h264", annex_b, None) == (16384, 8640)
    sized = len(big).to_bytes(4, "big") + big
    record = b"\1" + big[1:4] + b"\xff\xe1" + len(big).to_bytes(2, "big") + big + b"\0"
    assert stated_size("h264", sized, record) == (16384, 8640)
    assert stated_size("h264", b"", record, record) == (16384, 8640)
    kept = b"\1" + bytes(21) + b"\1" + b"\xa1\0\1" + len(nal).to_bytes(2, "big") + nal
    assert stated_size("hevc", b"", None, kept) == (16384, 8640)
    assert stated_size("hevc", b"\0\0\1" + nal, None) == (16384, 8640)
    for codec in ("h264", "hevc"):
        for broken in (b"", b"\1", b"\1" * 30, kept[:30], record[:10], b"\0\0\1\x67", b"\xff" * 200):
            stated_size(codec, broken, broken, broken)
    assert stated_size("vp9", b"\0\0\1" + big, None) is None


def test_the_segmenter_runs_within_its_limits(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=100, gop=25, size=SIZE)
    limits = SourceLimits(memory_mb=700)
    process = start_segmenter(Options(source=f"file:{clip.path}", spool=tmp_path / "spool", max_ahead=1, limits=limits))
    try:
        said = Path(f"/proc/{process.pid}/limits").read_text()
        told = {
            found[1]: found[2].split() for line in said.splitlines() if (found := re.match(r"Max (.{21})(.*)", line))
        }
        values = {name.strip(): kept[:2] for name, kept in told.items()}
        assert values["data size"] == [str(700 << 20)] * 2 and values["core file size"] == ["0", "0"]
    finally:
        stop_segmenter(process, graceful=False)


def test_one_that_lacks_memory_says_so(tmp_path: Path) -> None:
    """Pictures without compression, of which three are more than it may have."""
    path = tmp_path / "a.nut"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=8192x4320:r=5:d=1", "-c:v", "rawvideo", "-pix_fmt", "yuv420p", str(path))
    process = start_segmenter(
        Options(source=f"file:{path}", spool=tmp_path / "spool", limits=SourceLimits(memory_mb=200))
    )
    try:
        process.wait(60)
    finally:
        stop_segmenter(process, graceful=False)
    end = read(tmp_path / "spool").end
    assert end is not None and "needs more memory than STREAMWAVE_SOURCE_MEMORY_MB allows (200 MB)" in str(end.error)


def test_what_waits_is_bounded_in_bytes() -> None:
    """Packets of uncompressed, or of 8K, pictures are megabytes each."""
    waiting = BoundedQueue[bytes](1024, QUEUE_BYTES)
    piece = bytes(QUEUE_BYTES // 4)
    for _ in range(4):
        assert waiting.put(piece, len(piece), timeout_s=0)
    assert not waiting.put(piece, len(piece), timeout_s=0.01)
    assert waiting.get(timeout_s=0) is piece
    assert waiting.put(b"x", 2 * QUEUE_BYTES, timeout_s=0) is False
    for _ in range(3):
        waiting.get(timeout_s=0)
    # One that is larger than all that may wait passes alone.
    assert waiting.put(b"x", 2 * QUEUE_BYTES, timeout_s=0)
    small = BoundedQueue[bytes](2, QUEUE_BYTES)
    assert small.put(b"", 0, timeout_s=0) and small.put(b"", 0, timeout_s=0) and not small.put(b"", 0, timeout_s=0)
