"""What a source holds, and what is said of one that cannot be used."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from streamwave.errors import SourceError
from streamwave.ffmpeg.probe import open_source, probe
from tests.support.media import ffmpeg, make_clip


def test_a_usual_file(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", Fraction(30000, 1001), 30, sample_rate=44100, channels=1)
    info = probe(f"file:{clip.path}")
    assert info.video is not None and info.audio is not None
    assert (info.video.codec, info.video.width, info.video.height) == ("h264", 320, 180)
    assert info.video.stated_rate == Fraction(30000, 1001) and info.video.sample_aspect == 1
    assert (info.audio.codec, info.audio.sample_rate, info.audio.channels) == ("aac", 44100, 1)
    assert info.duration_ms is not None and abs(info.duration_ms - 1001) < 30


def test_pixels_that_are_not_square_and_colours(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    colours = ("-color_primaries", "bt470bg", "-color_trc", "gamma28", "-colorspace", "bt470bg")
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=720x576:r=25:d=0.2,setsar=64/45", "-c:v", "libx264", *colours, str(path))
    video = probe(f"file:{path}").video
    assert video is not None and video.sample_aspect == Fraction(64, 45)
    assert (video.colour.primaries, video.colour.transfer, video.colour.matrix) == ("bt470bg", "bt470bg", "bt470bg")
    assert not video.colour.full_range


@pytest.mark.parametrize(("kind", "codec"), [("video", b"V_MPEG4/ISO/AVC"), ("audio", b"A_AAC")])
def test_a_track_of_an_unknown_kind(tmp_path: Path, kind: str, codec: bytes) -> None:
    path = tmp_path / "a.mkv"
    make_clip(path, frames=5, video=kind == "video", audio=kind == "audio")
    path.write_bytes(path.read_bytes().replace(codec, codec[:2] + b"Z" * (len(codec) - 2)))
    with pytest.raises(SourceError, match=f"no decoder here for its {kind} track"):
        probe(f"file:{path}")


def test_a_cover_is_no_video(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "color=red:s=64x64", "-frames:v", "1", str(tmp_path / "cover.png"))
    sound, path = tmp_path / "a.m4a", tmp_path / "b.m4a"
    make_clip(sound, frames=25, video=False)
    cover = (
        "-i",
        str(tmp_path / "cover.png"),
        "-map",
        "0",
        "-map",
        "1",
        "-c",
        "copy",
        "-disposition:v",
        "attached_pic",
    )
    ffmpeg("-i", str(sound), *cover, str(path))
    info = probe(f"file:{path}")
    assert info.video is None and info.audio is not None


def test_a_source_without_a_length(tmp_path: Path) -> None:
    path = tmp_path / "a.h264"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x64:r=25:d=1", "-c:v", "libx264", "-f", "h264", str(path))
    info = probe(f"file:{path}")
    assert info.duration_ms is None and info.video is not None and info.audio is None


def test_cut_off_behind_its_index(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=100, options=("-movflags", "+faststart"))
    data = clip.path.read_bytes()
    clip.path.write_bytes(data[:-1])
    with pytest.raises(SourceError, match=r"a.mp4 is truncated: it ends after [34]\.\d s of [34]\.\d s; copy it again"):
        probe(f"file:{clip.path}")
    clip.path.write_bytes(data)
    assert probe(f"file:{clip.path}").video is not None


def test_a_recording_that_was_cut_off_is_whole_up_to_there(tmp_path: Path) -> None:
    # Recorders write fragments for the very case that they are killed.
    clip = make_clip(tmp_path / "a.mp4", frames=100, gop=25, options=("-movflags", "+frag_keyframe+empty_moov"))
    data = clip.path.read_bytes()
    clip.path.write_bytes(data[: len(data) * 3 // 4])
    assert probe(f"file:{clip.path}").video is not None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.mp4", b"\0" * 5000, "not readable media"),
        ("a.txt", b"just words\n" * 500, "not readable media"),
        ("a.srt", b"1\n00:00:00,000 --> 00:00:01,000\nwords\n", "not readable media"),
        ("a.mkv", b"", "empty|not media"),
    ],
)
def test_what_is_no_media(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=message):
        probe(f"file:{tmp_path / name}")


def test_a_playlist_cannot_reach_beyond_files(tmp_path: Path) -> None:
    (tmp_path / "a.m3u8").write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n"
    )
    with pytest.raises(SourceError):
        probe(f"file:{tmp_path / 'a.m3u8'}")


def test_nobody_answers() -> None:
    with pytest.raises(
        SourceError, match="http://127.0.0.1:9/a.mp4 cannot be read .*check in a browser that the address"
    ) as caught:
        open_source("http://user:secret@127.0.0.1:9/a.mp4?token=secret")
    assert "secret" not in str(caught.value)


def test_channels_in_an_order_of_their_own(tmp_path: Path) -> None:
    """In a process of its own, because that is what dies of it."""
    path = tmp_path / "a.mov"
    sine = ("-f", "lavfi", "-i", "aevalsrc=0|0|0|0|0|0|0|0:c=7.1:s=48000:d=0.2")
    ffmpeg(*sine, "-c:a", "pcm_s24be", str(path))
    program = "import sys; from streamwave.ffmpeg.probe import probe; print(probe(sys.argv[1]).audio.channels)"
    done = subprocess.run([sys.executable, "-c", program, f"file:{path}"], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, b"8"), done.stderr
