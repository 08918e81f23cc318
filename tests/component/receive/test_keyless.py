"""A live source without keyframes still comes in pieces, each of which shows its own pictures, and only for so long."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import pytest

from streamwave.ffmpeg.commands import EncoderSettings
from streamwave.ffmpeg.process import Launcher
from streamwave.ffmpeg.transcode import Transcoder
from streamwave.model import Chunk, Rendition
from streamwave.spool.journal import AdviceLine, JournalReader
from streamwave.timing import AAC_FRAME, Grid
from tests.support.media import ffmpeg_path, make_clip
from tests.support.player import decode_pictures
from tests.support.segmented import Spool, contiguous, segment

RATE, FRAMES = Fraction(5), 210
SMALL = Rendition(name="small", kind="video", width=160, height=90, max_bps=300_000)
PLAIN = ("-bf", "0")
PYRAMID = ("-x264-params", "bframes=3:b-adapt=0:b-pyramid=normal")
REFRESH = ("-x264-params", "bframes=0:intra-refresh=1:keyint=15")


def transcoded(spool: Spool, work: Path) -> list[list[int]]:
    """The numbers of the pictures that come out for each chunk."""
    transcoder = Transcoder(ffmpeg_path(), EncoderSettings("ultrafast"), Launcher(2), work, 60)
    found, grid = [], Grid(RATE)
    for record in spool.chunks:
        first, after = grid.frame_at_ms(record.start_ms), grid.frame_at_ms(record.next_ms)
        chunk = Chunk(
            number=record.number, rate=RATE, first_frame=first, frame_count=after - first, segments=(after - first,),
            video_path=str(spool.folder / str(record.video_file)), audio_path=None,
        )  # fmt: skip
        transcoder.encode(chunk, [SMALL])
        data = transcoder.result_path(chunk, "small").read_bytes()
        found.append([picture.number for picture in decode_pictures(data, grid.timescale)])
    return found


def packets(path: Path) -> Iterator[object]:
    with av.open(str(path)) as container:
        yield from (packet for packet in container.demux(video=0) if packet.size)


@pytest.mark.parametrize("coding", [PLAIN, PYRAMID, REFRESH], ids=["plain", "pyramid", "refresh"])
def test_no_keyframe_but_the_first(tmp_path: Path, coding: tuple[str, ...]) -> None:
    clip = make_clip(tmp_path / "a.mkv", RATE, FRAMES, gop=10_000, audio=coding is PLAIN, size="160x90", options=coding)
    spool = segment(clip.path, tmp_path / "spool", live=True)
    contiguous(spool)
    # After 12 s, then every 8 s, then as long as half of what has to be decoded before.
    assert [chunk.start_ms for chunk in spool.chunks] == pytest.approx([0, 12_000, 20_000, 30_000], abs=700)
    pictures = transcoded(spool, tmp_path / "work")
    assert [number for chunk in pictures for number in chunk] == list(range(FRAMES))
    assert [len(chunk) for chunk in pictures] == [chunk.pictures for chunk in spool.chunks]
    assert abs(len(spool.sound()) - FRAMES / RATE * 48000 / AAC_FRAME) < 2  # all, or silence
    told = {line.advice.code for line in JournalReader(spool.folder).read() if isinstance(line, AdviceLine)}
    assert "keyframe-missing" in told


def test_a_keyframe_ends_it(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mkv", RATE, 90, gop=65, size="160x90", options=PLAIN)
    spool = segment(clip.path, tmp_path / "spool", live=True)
    contiguous(spool)
    assert [chunk.start_ms for chunk in spool.chunks] == [0, 12_000, 13_000]
    assert [n for chunk in transcoded(spool, tmp_path / "work") for n in chunk] == list(range(90))


def test_without_any_for_too_long_the_source_is_given_up(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mkv", Fraction(2), 150, gop=10_000, audio=False, size="160x90", options=PLAIN)
    spool = segment(clip.path, tmp_path / "spool", live=True)
    assert spool.end is not None and spool.end.error is not None
    assert "no keyframe has come for 60 s; set the encoder's keyframe interval to 2 s" in spool.end.error
    assert sum(chunk.pictures for chunk in spool.chunks) == 121
    contiguous(spool)
    # All pieces together hold at most three times what came.
    held = [sum(1 for _ in packets(spool.folder / str(chunk.video_file))) for chunk in spool.chunks]
    assert len(held) >= 4 and sum(held) < 3 * 121, held


def test_a_file_is_not_cut_there(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mkv", RATE, 75, gop=10_000, audio=False, size="160x90", options=PLAIN)
    assert len(segment(clip.path, tmp_path / "spool").chunks) == 1
