"""The segmenter on real files: what goes in comes out in chunks, once, and the journal says how it ended."""

from __future__ import annotations

import re
import resource
import signal
import socket
import subprocess
import threading
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import pytest

from streamwave.ffmpeg.limits import SourceLimits
from streamwave.receive.chunkfile import VideoChunk
from streamwave.receive.launch import start_segmenter, stop_segmenter
from streamwave.receive.segmenter import Segmenter
from streamwave.spool.journal import SEGMENTER_FAILED, SPOOL_FAILED
from streamwave.spool.options import LOG_FILE, Options
from streamwave.spool.stop import request_stop
from streamwave.timing import AAC_FRAME, Grid, aac_frame_at_ms
from streamwave.util.logs import LOG_BYTES
from tests.support.media import Clip, ffmpeg
from tests.support.media import make_clip as make_large_clip
from tests.support.processes import wait_for
from tests.support.segmented import contiguous, read, segment

NTSC = Fraction(30000, 1001)
make_clip = partial(make_large_clip, size="160x90")


@pytest.mark.parametrize(
    ("rate", "frames", "kind"), [(NTSC, 130, "mp4"), (NTSC, 130, "flv"), (Fraction(25), 120, "ts")]
)
def test_all_pictures_and_all_sound(tmp_path: Path, rate: Fraction, frames: int, kind: str) -> None:
    clip = make_clip(tmp_path / f"a.{kind}", rate, frames)
    spool = segment(clip.path, tmp_path / "spool")
    contiguous(spool)
    pictures = spool.pictures()
    assert [number for chunk in pictures for number in chunk] == list(range(frames))
    assert [len(chunk) for chunk in pictures] == [chunk.pictures for chunk in spool.chunks]
    assert [chunk[0] for chunk in pictures] == list(range(0, frames, clip.gop))
    assert spool.opened is not None and spool.opened.rate == rate
    # The grid puts every chunk exactly where its first picture belongs.
    grid = Grid(rate)
    assert [grid.frame_at_ms(chunk.start_ms) for chunk in spool.chunks] == list(range(0, frames, clip.gop))
    assert grid.frame_at_ms(spool.chunks[-1].next_ms) == frames
    # Sound: exact to the AAC frame, and every chunk has what lies nearest to it.
    assert abs(len(spool.sound()) - clip.samples / AAC_FRAME) < 2
    for chunk in spool.chunks[:-1]:
        assert chunk.audio_first + chunk.audio_count == aac_frame_at_ms(chunk.next_ms, 48000)
    assert spool.end is not None and (spool.end.reason, spool.end.error) == ("end of source", None)


def test_a_limit_of_cpu_time_ends_with_the_source(tmp_path: Path) -> None:
    """Whoever segments in a process of their own (the Python API) goes on in it afterwards."""
    clip = make_clip(tmp_path / "a.mp4", frames=50, audio=False)
    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (10_000, hard))
    try:
        Segmenter(Options(source=f"file:{clip.path}", spool=tmp_path, limits=SourceLimits(stalled_cpu_s=3000))).run()
        assert resource.getrlimit(resource.RLIMIT_CPU) == (10_000, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def test_no_sound(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=75, audio=False)
    spool = segment(clip.path, tmp_path / "spool")
    assert [n for chunk in spool.pictures() for n in chunk] == list(range(75))
    assert spool.opened is not None and spool.opened.sample_rate is None
    assert all(chunk.audio_file is None and chunk.audio_count == 0 for chunk in spool.chunks)


@pytest.mark.parametrize(
    ("kind", "codec"), [("m4a", "aac"), ("mp3", "libmp3lame"), ("flac", "flac"), ("ogg", "libopus")]
)
def test_only_sound(tmp_path: Path, kind: str, codec: str) -> None:
    clip = make_clip(tmp_path / f"a.{kind}", frames=125, video=False, options=("-c:a", codec))
    spool = segment(clip.path, tmp_path / "spool")
    contiguous(spool)
    assert [chunk.video_file for chunk in spool.chunks] == [None] * 3
    assert [chunk.audio_count for chunk in spool.chunks[:2]] == [94, 94]
    assert 0 <= len(spool.sound()) * AAC_FRAME - clip.samples < 2 * AAC_FRAME
    assert spool.opened is not None and spool.opened.rate is not None
    # On its grid of AAC frames every chunk covers as many places as it has frames.
    grid = Grid(spool.opened.rate)
    places = [grid.frame_at_ms(chunk.next_ms) - grid.frame_at_ms(chunk.start_ms) for chunk in spool.chunks]
    assert places == [chunk.audio_count for chunk in spool.chunks]


@pytest.mark.parametrize(
    ("gop", "lengths"),
    [
        (25, [50, 50]),  # several keyframes a chunk
        (46, [46, 46, 8]),  # a little early is near enough: the chunk must not become twice as long
        (40, [80, 20]),  # too early is not
        (70, [70, 30]),  # late: the chunk is as long as it has to be
    ],
)
def test_where_chunks_end(tmp_path: Path, gop: int, lengths: list[int]) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=100, gop=gop)
    spool = segment(clip.path, tmp_path / "spool")
    assert [chunk.pictures for chunk in spool.chunks] == lengths
    assert [n for chunk in spool.pictures() for n in chunk] == list(range(100))
    contiguous(spool)


def test_the_source_does_not_begin_at_zero(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=75)
    ffmpeg("-i", str(clip.path), "-c", "copy", "-output_ts_offset", "5000", str(tmp_path / "late.ts"))
    spool = segment(tmp_path / "late.ts", tmp_path / "spool")
    contiguous(spool)
    assert [n for chunk in spool.pictures() for n in chunk] == list(range(75))
    assert abs(len(spool.sound()) - clip.samples / AAC_FRAME) < 2


def test_the_source_begins_in_the_middle_of_a_gop(tmp_path: Path) -> None:
    """What cannot be decoded is not taken in; the first keyframe is the beginning."""
    clip = make_clip(tmp_path / "a.ts", frames=125, gop=50)
    with av.open(str(clip.path)) as container:
        keyframes = [p.pos for p in container.demux(video=0) if p.is_keyframe]
    assert keyframes[0] is not None and keyframes[1] is not None
    data = clip.path.read_bytes()
    (tmp_path / "cut.ts").write_bytes(data[(keyframes[0] + keyframes[1]) // 2 // 188 * 188 :])
    spool = segment(tmp_path / "cut.ts", tmp_path / "spool")
    assert [n for chunk in spool.pictures() for n in chunk] == list(range(50, 125))
    contiguous(spool)
    assert abs(len(spool.sound()) - 75 / 25 * 48000 / AAC_FRAME) < 3


def test_sound_that_ends_early_is_filled_with_silence_up_to_the_picture(tmp_path: Path) -> None:
    picture = make_clip(tmp_path / "p.mp4", frames=150, audio=False)
    sound = make_clip(tmp_path / "s.m4a", frames=60, video=False)
    ffmpeg("-i", str(picture.path), "-i", str(sound.path), "-c", "copy", str(tmp_path / "a.mp4"))
    spool = segment(tmp_path / "a.mp4", tmp_path / "spool")
    contiguous(spool)
    assert [n for chunk in spool.pictures() for n in chunk] == list(range(150))
    assert len(spool.sound()) == aac_frame_at_ms(6000, 48000)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"no media at all" * 100, "not readable media"), (b"", "empty|not media")],
)
def test_no_media(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    spool = segment(tmp_path / "a.mp4", tmp_path / "spool")
    assert spool.opened is None and spool.chunks == []
    assert spool.end is not None and spool.end.reason == "source failed" and spool.end.error is not None
    assert re.search(message, spool.end.error)


def test_a_spool_without_space(tmp_path: Path) -> None:
    """Said in the journal, with the chunks that were received before."""
    clip = make_clip(tmp_path / "a.mp4", frames=150)
    spool = tmp_path / "spool"
    spool.mkdir()
    (spool / "000001.mkv").symlink_to("/dev/full")
    found = segment(clip.path, spool)
    assert [chunk.number for chunk in found.chunks] == [0]
    assert found.end is not None and found.end.reason == SPOOL_FAILED
    assert found.end.error == f"the spool {spool} cannot be written (No space left on device)"
    assert not (spool / "000001.mkv").is_symlink()  # what takes space and helps nobody is gone


# --- as a process -----------------------------------------------------------------------------------------------------


@pytest.fixture
def long_clip(tmp_path: Path) -> Clip:
    # Without B-frames: wherever it is stopped, what was received has no hole.
    return make_clip(tmp_path / "a.mp4", frames=200, gop=25, options=("-bf", "0"))


def held(clip: Clip, spool: Path) -> subprocess.Popen[bytes]:
    """A segmenter that has received three chunks and waits until somebody takes them."""
    process = start_segmenter(Options(source=f"file:{clip.path}", spool=spool, segment_ms=1000, max_ahead=3))
    wait_for(lambda: len(read(spool).chunks) >= 2 and (spool / "000002.mkv").exists(), "three chunks")
    return process


def test_it_waits_for_whoever_takes_the_chunks(tmp_path: Path, long_clip: Clip) -> None:
    spool = tmp_path / "spool"
    process = held(long_clip, spool)
    try:
        with (spool / LOG_FILE).open("ab") as log:
            log.write(b"something that a source made it say\n" * (2 * LOG_BYTES // 36))
        wait_for(lambda: (spool / LOG_FILE).stat().st_size <= LOG_BYTES, "a short log")
        most, pictures = 0, 0
        while (found := read(spool)).end is None or len(found.chunks) > pictures:
            most = max(most, len(list(spool.glob("*.mkv"))))
            if len(found.chunks) > pictures:
                (spool / f"{pictures:06d}.mkv").unlink()
                pictures += 1
        assert pictures == 8 and most == 3
        assert process.wait(60) == 0
    finally:
        stop_segmenter(process, graceful=False)


@pytest.mark.parametrize("how", ["asked", "by its number"])
def test_a_stop_closes_the_chunk_and_the_journal(tmp_path: Path, long_clip: Clip, how: str) -> None:
    spool = tmp_path / "spool"
    process = held(long_clip, spool)
    if how == "asked":
        stop_segmenter(process, graceful=True)
    else:
        assert request_stop(spool)
    assert process.wait(60) == 0
    found = read(spool)
    assert found.end is not None and (found.end.reason, found.end.error) == ("stopped", None)
    numbers = [n for chunk in found.pictures() for n in chunk]
    assert numbers == list(range(len(numbers))) and 50 <= len(numbers) < 200
    contiguous(found)
    assert (spool / "segmenter.log").read_text() == ""
    assert not request_stop(spool)


def test_killed_it_leaves_whole_chunks_and_no_end(tmp_path: Path, long_clip: Clip) -> None:
    spool = tmp_path / "spool"
    process = held(long_clip, spool)
    stop_segmenter(process, graceful=False)
    assert process.returncode == -signal.SIGKILL
    found = read(spool)
    assert found.end is None
    assert [n for chunk in found.pictures() for n in chunk] == list(range(25 * len(found.chunks)))


def test_a_second_segmenter_for_the_same_spool_harms_nothing(tmp_path: Path, long_clip: Clip) -> None:
    spool = tmp_path / "spool"
    process = held(long_clip, spool)
    try:
        second = start_segmenter(Options(source=f"file:{long_clip.path}", spool=spool))
        assert second.wait(60) != 0
        assert "is being written by another segmenter" in (spool / "segmenter.log").read_text()
    finally:
        stop_segmenter(process, graceful=True)
    found = read(spool)
    assert found.end is not None and found.end.reason == "stopped"
    contiguous(found)


def open_pictures(segmenter: Segmenter) -> int:
    chunk = segmenter.session.pictures.chunk if segmenter.session is not None else None
    return len(chunk.starts_ms) if chunk is not None else 0


def test_a_stop_of_a_live_source_takes_in_what_has_arrived(tmp_path: Path) -> None:
    """A publisher that says nothing more but stays connected: all that it sent is there, and the end comes soon."""
    clip = make_clip(tmp_path / "a.flv", frames=80)
    body = clip.path.read_bytes()
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a.flv"
        segmenter = Segmenter(Options(source=address, spool=tmp_path / "spool", live=True))
        thread = threading.Thread(target=segmenter.run)
        thread.start()
        connection, _ = server.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\n\r\n" + body)
            wait_for(lambda: open_pictures(segmenter) >= 25, "pictures")
            segmenter.stop.set()
            thread.join(60)
            assert not thread.is_alive()
    found = read(tmp_path / "spool")
    assert [n for chunk in found.pictures() for n in chunk] == list(range(80))
    contiguous(found)
    assert found.end is not None and (found.end.reason, found.end.error) == ("stopped", None)


def test_what_nobody_has_foreseen_is_said_in_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever waits for the session learns of it, in a sentence; the log has the rest."""
    clip = make_clip(tmp_path / "a.mp4", frames=100, gop=25)

    def fail(chunk: VideoChunk, *_: object, **__: object) -> None:
        raise ZeroDivisionError(f"of chunk {chunk.number}")

    with monkeypatch.context() as patch:
        patch.setattr(VideoChunk, "write", fail)
        found = segment(clip.path, tmp_path / "spool", segment_ms=1000)
    assert found.chunks == [] and found.end is not None and found.end.reason == SEGMENTER_FAILED
    assert found.end.error == (
        f"{clip.path} can no longer be cut into chunks (ZeroDivisionError: of chunk 0); "
        "convert it to H.264 and AAC, and report this"
    )
    assert "Traceback" in caplog.text
