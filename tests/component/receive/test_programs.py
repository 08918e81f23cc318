"""Sources that hold more than one program, or the same one in several sizes: sound and pictures belong together."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from streamwave.ffmpeg.probe import probe
from streamwave.receive.segmenter import Segmenter
from streamwave.spool.options import Options
from tests.support.media import ffmpeg, make_clip
from tests.support.segmented import Spool, contiguous, read, segment
from tests.support.sources import in_sync, shown

FRAMES, GOP = 75, 25


@contextmanager
def web(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """A web server for the files in ``folder``: its address, and the names that it was asked for."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path.lstrip("/"))
            super().do_GET()

        def log_message(self, format: str, *args: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()


def received(address: str, folder: Path) -> Spool:
    Segmenter(Options(source=address, spool=folder, live=True, segment_ms=1000)).run()
    return read(folder)


def whole(spool: Spool, width: int) -> None:
    assert spool.end is not None and (spool.end.reason, spool.end.error) == ("end of source", None)
    assert spool.opened is not None and spool.opened.source.video is not None
    assert spool.opened.source.video.width == width
    contiguous(spool)
    assert shown(spool) == list(range(FRAMES))
    in_sync(spool)


def test_the_sound_is_that_of_the_program_whose_pictures_are_taken(tmp_path: Path) -> None:
    """A transponder lists its radio program first."""
    clip = make_clip(tmp_path / "a.ts", frames=FRAMES, gop=GOP, size="160x90", options=("-bf", "0"))
    ffmpeg(
        *("-f", "lavfi", "-i", "sine=f=300:r=48000:d=3", "-i", str(clip.path), "-map", "0", "-map", "1:v", "-map", "1:a"),
        *("-map", "0", "-c:v", "copy", "-c:a", "aac", "-program", "title=radio:st=0"),
        *("-program", "title=television:st=1:st=2:st=3", str(tmp_path / "b.ts")),
    )  # fmt: skip
    spool = segment(tmp_path / "b.ts", tmp_path / "spool", segment_ms=1000)
    whole(spool, 160)
    assert spool.opened is not None and spool.opened.source.audio_tracks == 2
    found = probe(f"file:{tmp_path / 'b.ts'}", audio_track=1).audio
    assert found is not None and found.channels == 1


def variants(folder: Path) -> list[int]:
    """A playlist of two sizes, the smaller one first; their widths."""
    lines = ["#EXTM3U"]
    for width, height in ((160, 90), (320, 180)):
        options = ("-bf", "0", "-f", "hls", "-hls_time", "1", "-hls_list_size", "0")
        (folder / str(width)).mkdir()
        make_clip(
            folder / f"{width}/list.m3u8", frames=FRAMES, gop=GOP, size=f"{width}x{height}", options=options
        )  # fmt: skip
        lines += [f"#EXT-X-STREAM-INF:BANDWIDTH={width * 1000},RESOLUTION={width}x{height}", f"{width}/list.m3u8"]
    (folder / "master.m3u8").write_text("\n".join(lines) + "\n")
    return [160, 320]


def test_the_largest_variant_of_a_playlist_is_taken_and_no_other_is_fetched(tmp_path: Path) -> None:
    small, large = variants(tmp_path)
    with web(tmp_path) as (address, asked):
        whole(received(f"{address}/master.m3u8", tmp_path / "spool"), large)
    assert [name for name in asked if name.startswith(f"{small}/")] == [f"{small}/list.m3u8", f"{small}/list0.ts"]
    assert f"{large}/list2.ts" in asked


def test_an_encrypted_playlist(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"0123456789abcdef")
    (tmp_path / "key.info").write_text(f"key\n{tmp_path / 'key'}\n")
    clip = make_clip(tmp_path / "a.mp4", frames=FRAMES, gop=GOP, size="160x90", options=("-bf", "0"))
    options = ("-f", "hls", "-hls_time", "1", "-hls_list_size", "0", "-hls_key_info_file", str(tmp_path / "key.info"))
    ffmpeg("-i", str(clip.path), "-c", "copy", *options, str(tmp_path / "list.m3u8"))
    with web(tmp_path) as (address, asked):
        whole(received(f"{address}/list.m3u8", tmp_path / "spool"), 160)
    assert "key" in asked


@pytest.mark.parametrize("address", ["file:{}", "crypto:{}", "crypto+file:{}", "{}", "concat:{}"])
def test_a_playlist_of_the_network_reads_no_file(tmp_path: Path, address: str) -> None:
    (tmp_path / "served").mkdir()
    clip = make_clip(tmp_path / "a.ts", frames=FRAMES, gop=GOP, size="160x90", options=("-bf", "0"))
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:3", "#EXTINF:3,", address.format(clip.path), "#EXT-X-ENDLIST"]
    (tmp_path / "served/list.m3u8").write_text("\n".join(lines) + "\n")
    with web(tmp_path / "served") as (server, _):
        spool = received(f"{server}/list.m3u8", tmp_path / "spool")
    assert spool.opened is None and spool.end is not None and spool.end.error is not None
