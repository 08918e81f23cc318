"""Two minutes of a song with its cover, or with a picture a second: segments follow time, however few the pictures are.

Those that differ only in their container are shorter, unless TESTS_FULL=1.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest

from streamwave.timing import AAC_FRAME
from tests.matrix.cell import SMALL_LADDER
from tests.matrix.pipeline import transcode
from tests.support.media import ffmpeg
from tests.support.player import decode_sound, representations

SONG_S, SEGMENT_S = 120, 2
#: In a whole song; in shorter ones in proportion.
MOST_SEGMENTS = 65
SHORT_S = SONG_S if os.environ.get("TESTS_FULL") else 20


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its audio, next to its cover."""
    folder = tmp_path_factory.mktemp("song")
    ffmpeg("-f", "lavfi", "-i", f"sine=frequency=330:sample_rate=48000:duration={SONG_S}", str(folder / "song.wav"))
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=320x180", "-frames:v", "1", str(folder / "cover.jpg"))
    return folder / "song.wav"


def with_cover(suffix: str, *codec: str) -> Callable[[Path, Path, int], Path]:
    """A file that declares the picture as its cover."""

    def make(song: Path, folder: Path, length_s: int) -> Path:
        path, cover = folder / f"a.{suffix}", song.with_name("cover.jpg")
        options = ("-map", "0:a", "-map", "1:v", *codec, "-c:v", "copy", "-disposition:v", "attached_pic")
        ffmpeg("-t", str(length_s), "-i", str(song), "-i", str(cover), *options, str(path))
        return path

    return make


def with_picture(suffix: str, *codec: str, shown: tuple[str, ...] = ()) -> Callable[[Path, Path, int], Path]:
    """A file that contains the picture as video, once or as ``shown``."""

    def make(song: Path, folder: Path, length_s: int) -> Path:
        path = folder / f"a.{suffix}"
        cover = ("-i", str(song.with_name("cover.jpg")))
        ffmpeg("-t", str(length_s), "-i", str(song), *shown, *cover, "-map", "1:v", "-map", "0:a", *codec, str(path))
        return path

    return make


#: How each is made, its length in seconds, and the pictures per second that come out.
SONGS = {
    "MP3": (with_cover("mp3", "-c:a", "libmp3lame", "-b:a", "128k", "-id3v2_version", "3"), SONG_S, 0),
    "M4A": (with_cover("m4a", "-c:a", "aac", "-b:a", "128k"), SHORT_S, 0),
    "FLAC": (with_cover("flac", "-c:a", "flac"), SHORT_S, 0),
    "one picture, MP4": (with_picture("mp4", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-c:a", "aac"), SONG_S, 25),
    "one picture, Matroska": (with_picture("mkv", "-c:v", "copy", "-c:a", "aac"), SHORT_S, 25),
    "a picture a second": (
        with_picture("mp4", "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac",
                     shown=("-framerate", "1", "-loop", "1", "-t", str(SONG_S))), SONG_S, 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SONGS)
def test_segments_of_a_song_follow_time(name: str, song: Path, tmp_path: Path) -> None:
    make, length_s, rate = SONGS[name]
    made = transcode(make(song, tmp_path, length_s), tmp_path, ladder=SMALL_LADDER, segment_s=SEGMENT_S)
    assert not made.filled and not made.damaged
    found = representations(made.root)
    assert {one.kind for one in found.values()} == ({"audio", "video"} if rate else {"audio"})
    for one in found.values():
        lengths = [Fraction(segment.duration, one.timescale) for segment in one.segments]
        assert len(lengths) <= MOST_SEGMENTS * length_s // SONG_S, one.name
        assert max(lengths) <= 2 * SEGMENT_S and min(lengths[:-1]) >= Fraction(SEGMENT_S, 2), one.name
        if one.kind == "video":
            with av.open(io.BytesIO(one.data), "r") as container:
                count = len(list(container.decode(video=0)))
            assert 0 <= count - length_s * rate <= 1, one.name  # to the end of the last AAC frame
        else:
            assert abs(len(decode_sound(one.data).samples) - length_s * 48000) <= 2 * AAC_FRAME
