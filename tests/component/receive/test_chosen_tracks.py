"""Which of several video tracks is received, rates that no rendition has, and what is said of both."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from streamwave.ffmpeg.probe import probe
from streamwave.model import SourceInfo
from streamwave.receive.quick_probe import look
from streamwave.spool.advice import of_tracks
from streamwave.spool.journal import AdviceLine, JournalReader
from tests.matrix.edits import edited
from tests.support import encrypted
from tests.support.media import ffmpeg
from tests.support.segmented import Spool, segment


def told(spool: Spool, code: str) -> list[str]:
    lines = JournalReader(spool.folder).read()
    return [line.advice.text for line in lines if isinstance(line, AdviceLine) and line.advice.code == code]


@pytest.mark.parametrize(("rate", "capped"), [(120, None), (144, 120), (240, 120), (1000, 120)])
def test_rates_that_are_capped_are_told(tmp_path: Path, rate: int, capped: int | None) -> None:
    path = tmp_path / "a.mp4"
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=s=64x36:r={rate}:d=1", "-c:v", "libx264", "-preset", "ultrafast", str(path))
    spool = segment(path, tmp_path / "spool")
    assert spool.opened is not None and spool.opened.rate is not None
    due = (
        []
        if capped is None
        else [
            f"the source has {rate} frames per second, and the renditions keep {capped}, which is their maximum; nothing "
            "needs to be done if that is sufficient"
        ]
    )
    assert spool.opened.rate == min(rate, 120) and told(spool, "rate-capped") == due
    assert [one.text for one in look(f"file:{path}", ()) if one.code == "rate-capped"] == due


def several(path: Path, sizes: tuple[str, ...], flags: tuple[str, ...]) -> Path:
    inputs = [part for size in sizes for part in ("-f", "lavfi", "-i", f"testsrc2=s={size}:r=25:d=1")]
    maps = [part for number in range(len(sizes)) for part in ("-map", str(number))]
    marks = [part for number, flag in enumerate(flags) for part in (f"-disposition:v:{number}", flag)]
    ffmpeg(*inputs, *maps, "-c:v", "libx264", "-preset", "ultrafast", *marks, str(path))
    return path


LARGE, SMALL = "192x108", "64x36"


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize(
    ("sizes", "flags", "number"),
    [
        ((SMALL, LARGE), ("0", "default"), 2),  # the first is disabled, in MP4
        ((LARGE, SMALL), ("0", "default"), 2),
        ((SMALL, LARGE), ("default", "default"), 2),
        ((SMALL, LARGE, SMALL), ("0", "default", "default"), 2),
        ((LARGE, LARGE), ("default", "default"), 1),
    ],
)
def test_the_default_or_largest_video_track(
    tmp_path: Path, suffix: str, sizes: tuple[str, ...], flags: tuple[str, ...], number: int
) -> None:
    path = several(tmp_path / f"a.{suffix}", sizes, flags)
    info = probe(f"file:{path}")
    assert info.video is not None and (info.video_number, info.video_tracks) == (number, len(sizes))
    assert f"{info.video.width}x{info.video.height}" == sizes[number - 1]


def test_of_tracks_without_a_default_one_the_largest(tmp_path: Path) -> None:
    info = probe(f"file:{several(tmp_path / 'a.mkv', (SMALL, LARGE, SMALL), ('0', '0', '0'))}")
    assert info.video is not None and (info.video_number, info.video.width) == (2, 192)


def test_which_one_it_is_is_told(tmp_path: Path) -> None:
    spool = segment(several(tmp_path / "a.mp4", (SMALL, LARGE), ("0", "default")), tmp_path / "spool")
    assert told(spool, "track-chosen") == [
        "video track 2 of 2 is used (192x108), which is the default one, or else the largest, of those that can be decoded; "
        "to use another, copy it into a file of its own"
    ]
    assert spool.opened is not None and spool.opened.source.video is not None
    assert spool.opened.source.video.width == 192 and spool.opened.rate == Fraction(25)
    one = segment(several(tmp_path / "b.mp4", (LARGE,), ()), tmp_path / "other")
    assert told(one, "track-chosen") == []


def test_encrypted_tracks_beside_clear_ones(tmp_path: Path) -> None:
    """Pictures and sound that can be used are, and somebody says so."""
    path = encrypted.clear(tmp_path / "a.mp4", tones=(500, 1000))
    spool = segment(encrypted.mp4(path, b"cbcs", 1), tmp_path / "spool")
    assert told(spool, "track-encrypted") == [
        "encrypted audio track 1 cannot be used without a key, so track 2 is used; decrypt the file with its key to use the "
        "other"
    ]
    path = several(tmp_path / "b.mp4", (LARGE, SMALL), ("default", "default"))
    info = probe(f"file:{encrypted.mp4(path, b'cenc', 0)}")
    assert info.video is not None and (info.video_number, info.video.width) == (2, 64)


@pytest.mark.parametrize(
    ("tracks", "said"),
    [
        ((1,), "there is no decoder for audio track 1, so there is no audio; convert it to AAC"),
        ((1, 2), "there is no decoder for audio tracks 1 and 2, so there is no audio; convert one of them to AAC"),
    ],
)
def test_audio_without_a_decoder(tracks: tuple[int, ...], said: str) -> None:
    (advice,) = of_tracks(SourceInfo(url="file:/a.mp4", container="mp4", audio_tracks=len(tracks), undecodable=tracks))
    assert advice.text == said


def test_an_edit_list_that_shows_nothing(tmp_path: Path) -> None:
    """The file is complete, so a reader is not sent after a failed copy alone."""
    path, late = tmp_path / "a.mp4", tmp_path / "late.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x36:r=25:d=1", "-c:v", "libx264", "-preset", "ultrafast", str(path))
    edited([(Fraction(1), Fraction(8))])(path, late)
    spool = segment(late, tmp_path / "spool")
    assert spool.end is not None and spool.end.error is not None and "its edit list shows none of it" in spool.end.error
