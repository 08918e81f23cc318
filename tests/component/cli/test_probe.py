"""``streamwave probe`` tells what is unusual about the pictures, and what becomes of it."""

from __future__ import annotations

import http.server
import io
import threading
from fractions import Fraction
from pathlib import Path

import pytest
from rich.console import Console

from streamwave.cli.probe import notes, run_probe
from streamwave.errors import UsageError
from streamwave.model import Colour, VideoInfo
from tests.support.media import ffmpeg, make_clip


def video(**values: object) -> VideoInfo:
    return VideoInfo.model_validate({"codec": "hevc", "width": 1920, "height": 1080, **values})


def test_what_is_found_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=s=720x576:r=25:d=0.4,setsar=64/45,setfield=tff", "-pix_fmt", "yuv422p"),
        *("-c:v", "mpeg2video", "-flags", "+ilme+ildct", "-q:v", "4", str(path)),
    )
    console = Console(file=io.StringIO(), width=200)
    run_probe(str(path), None, console)
    out = console.file.getvalue()  # type: ignore[attr-defined]
    assert "720x576, shown as 1024x576, yuv422p" in out and "25 fps" in out and "mpeg2video" in out
    assert "pixel aspect ratio 64:45: converted to square pixels" in out
    assert "interlaced: deinterlaced to the same frame rate" in out
    assert "bt470bg/smpte170m/bt470bg, limited range (unspecified values are inferred from the frame size)" in out
    assert "854x480" in out and "640x360" in out


def test_what_is_found_in_a_source_that_answers_once(tmp_path: Path) -> None:
    """As encoders do that wait for a caller."""
    body = make_clip(tmp_path / "a.ts", frames=50, size="320x180").path.read_bytes()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    console = Console(file=io.StringIO(), width=200)
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:

        def once() -> None:
            server.handle_request()
            server.server_close()

        answering = threading.Thread(target=once)
        answering.start()
        run_probe(f"http://127.0.0.1:{server.server_address[1]}/stage", None, console)
        answering.join(60)
    out = console.file.getvalue()  # type: ignore[attr-defined]
    assert "320x180" in out and "180p" in out
    assert "the source accepts only one connection" in out


def test_the_audio_track_that_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    tracks = [("-f", "lavfi", "-i", f"sine=duration=0.2:sample_rate={rate}") for rate in (44100, 48000)]
    ffmpeg(*tracks[0], *tracks[1], "-map", "0", "-map", "1", str(path))
    for track, rate in ((None, 44100), (2, 48000)):
        console = Console(file=io.StringIO(), width=200)
        run_probe(str(path), None, console, track)
        out = console.file.getvalue()  # type: ignore[attr-defined]
        assert f"audio ({track or 1} of 2)" in out and f"{rate} Hz" in out
    with pytest.raises(UsageError, match="has 2 audio tracks, so there is no number 3"):
        run_probe(str(path), None, console, 3)


def test_notes_say_what_is_done() -> None:
    pq = Colour(primaries="bt2020", transfer="smpte2084", matrix="bt2020nc")
    found = notes(video(rotation=90, colour=pq, peak_nits=4000), zimg=True)
    assert found == [
        "its metadata asks for a rotation by 90 degrees: rotated",
        "colours (primaries/transfer/matrix): bt2020/smpte2084/bt2020nc, limited range",
        "HDR (PQ, up to 4000 cd/m2): tone-mapped to BT.709",
    ]
    hlg = pq.model_copy(update={"transfer": "arib-std-b67"})
    assert notes(video(colour=hlg), zimg=False)[-1] == (
        "HDR (HLG, up to 1000 cd/m2): tone-mapped to BT.709, approximately: this FFmpeg lacks zimg"
    )
    wide = Colour(primaries="smpte432", transfer="bt709", matrix="bt709", full_range=True)
    assert notes(video(colour=wide), zimg=True)[1:] == [
        "wider colour gamut than the renditions: converted to BT.709",
        "full range: converted to limited",
    ]
    plain = Colour(primaries="bt709", transfer="bt709", matrix="bt709")
    assert len(notes(video(colour=plain, sample_aspect=Fraction(1)), zimg=True)) == 1
