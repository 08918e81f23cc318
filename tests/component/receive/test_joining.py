"""Live MPEG-TS: joined between two keyframes, and with a program that changes."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from streamwave.ffmpeg.probe import probe
from streamwave.receive.segmenter import Segmenter
from streamwave.spool.broadcast import open_session
from streamwave.spool.options import Options
from streamwave.timing import AAC_FRAME
from tests.support.http import sent
from tests.support.media import make_clip
from tests.support.mpegts import media, pat, pmt
from tests.support.segmented import contiguous, read, segment
from tests.support.sources import SIZE, shown

#: A packet of MPEG-TS, in bytes (ISO/IEC 13818-1, 2.4.3.2).
PACKET = 188
GOP, FRAMES = 100, 250
X265 = f"log-level=0:keyint={GOP}:min-keyint={GOP}:scenecut=0:open-gop=0"


def from_picture(clip: Path, number: int) -> bytes:
    """An MPEG-TS file from about that picture on, as it is sent to those who come later."""
    with av.open(str(clip)) as container:
        found = [packet.pos for packet in container.demux(video=0) if packet.pos is not None and packet.size]
    return clip.read_bytes()[found[number] // PACKET * PACKET :]


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_a_stream_that_is_joined_long_before_its_next_keyframe(tmp_path: Path, codec: str) -> None:
    options = ("-c:v", codec, "-bf", "0", "-sc_threshold", "0", *(("-x265-params", X265) if codec == "libx265" else ()))
    clip = make_clip(tmp_path / "a.ts", frames=FRAMES, gop=GOP, size="160x90", options=options)
    with sent(from_picture(clip.path, 10), "show.ts") as address:
        info = probe(address)
        assert info.video is not None and (info.video.width, info.video.height) == (160, 90)
        Segmenter(Options(source=address, spool=tmp_path / "spool", live=True)).run()
    spool = read(tmp_path / "spool")
    contiguous(spool)
    assert shown(spool) == list(range(GOP, FRAMES))


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_a_program_that_changes_goes_on(tmp_path: Path, codec: str) -> None:
    """In other tracks, and in another codec: what looks the same is the same session, else another one follows."""
    extra = ("-x265-params", "log-level=0:bframes=0:scenecut=0") if codec == "libx265" else ()
    moved = ("-bf", "0", "-mpegts_start_pid", "700", "-c:v", codec, *extra)
    first = make_clip(tmp_path / "a.ts", frames=75, gop=25, size=SIZE, options=("-bf", "0"))
    second = make_clip(tmp_path / "b.ts", frames=100, gop=25, size=SIZE, options=moved)
    _, session = open_session(tmp_path / "spools", "show", output="memory://out", window_ms=0)
    with sent(first.path.read_bytes() + second.path.read_bytes(), "show.ts") as address:
        Segmenter(Options(source=address, spool=session, segment_ms=1000, live=True)).run()
    found = [read(folder) for folder in sorted(session.parent.iterdir()) if folder.is_dir()]
    for spool in found:
        contiguous(spool)
        assert spool.end is not None and spool.end.error is None
    pictures = [shown(spool) for spool in found]
    numbers = [list(range(75)), list(range(100))]
    assert pictures == (numbers if codec == "libx265" else [sum(numbers, [])])
    assert sum(len(spool.sound()) for spool in found) == pytest.approx(175 / 25 * 48000 / AAC_FRAME, abs=3)


@pytest.mark.parametrize("goes_on", [False, True])
def test_a_program_without_anything_is_passed_over(tmp_path: Path, goes_on: bool) -> None:
    clip = make_clip(tmp_path / "a.ts", frames=75, gop=25, size=SIZE, options=("-bf", "0"))
    body = clip.path.read_bytes()
    nothing = pat(_9=300) + pmt((0x1B, 301, b""), number=9, pid=300) + media(3, 301)
    clip.path.write_bytes(body + nothing + body * goes_on)
    spool = segment(clip.path, tmp_path / "spool", segment_ms=1000)
    contiguous(spool)
    assert spool.end is not None and (spool.end.reason, spool.end.error) == ("end of source", None)
    assert shown(spool) == list(range(75)) * (2 if goes_on else 1)
