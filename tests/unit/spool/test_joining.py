"""Live sources that are joined between two keyframes."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import pytest

from streamwave.ffmpeg.probe import probe
from streamwave.spool.segmenter import Options, Segmenter
from tests.support.media import make_clip
from tests.unit.spool.test_segmenter import contiguous, read
from tests.unit.spool.test_sources import shown

#: A packet of MPEG-TS, in bytes (ISO/IEC 13818-1, 2.4.3.2).
PACKET = 188
GOP, FRAMES = 100, 250
X265 = f"log-level=0:keyint={GOP}:min-keyint={GOP}:scenecut=0:open-gop=0"


@contextmanager
def joined(clip: Path, from_picture: int) -> Iterator[str]:
    """A server that sends an MPEG-TS file from about that picture on, as to those who come later."""
    with av.open(str(clip)) as container:
        found = [packet.pos for packet in container.demux(video=0) if packet.pos is not None and packet.size]
    body = clip.read_bytes()[found[from_picture] // PACKET * PACKET :]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "video/mp2t")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/show.ts"
        finally:
            server.shutdown()


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_a_stream_that_is_joined_long_before_its_next_keyframe(tmp_path: Path, codec: str) -> None:
    options = ("-c:v", codec, "-bf", "0", "-sc_threshold", "0", *(("-x265-params", X265) if codec == "libx265" else ()))
    clip = make_clip(tmp_path / "a.ts", frames=FRAMES, gop=GOP, size="160x90", options=options)
    with joined(clip.path, 10) as address:
        info = probe(address)
        assert info.video is not None and (info.video.width, info.video.height) == (160, 90)
        Segmenter(Options(source=address, spool=tmp_path / "spool", live=True)).run()
    spool = read(tmp_path / "spool")
    contiguous(spool)
    assert shown(spool) == list(range(GOP, FRAMES))
