"""Pictures of a few pixels are shown like others: FFmpeg decodes them, and players need an even size."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.matrix.pipeline import transcode
from tests.support.media import ffmpeg


@pytest.mark.parametrize(
    ("size", "pixels", "expected"),
    [
        ("1x1", "rgb24", (2, 2)),
        ("3x5", "yuv444p", (4, 6)),
        ("4x4", "yuv410p", (4, 4)),
        ("1x640", "rgb24", (2, 640)),
    ],
)
def test_few_pixels(tmp_path: Path, size: str, pixels: str, expected: tuple[int, int]) -> None:
    path = tmp_path / "a.mkv"
    source = f"color=white:s=64x64:r=10:d=1,scale={size.replace('x', ':')},format={pixels},setsar=1"
    ffmpeg("-f", "lavfi", "-i", source, "-c:v", "ffv1", str(path))
    made = transcode(path, tmp_path, ladder=None, segment_s=1)
    assert (made.filled, made.damaged) == (0, 0)  # no black in their place
    manifest = (made.root / "manifest.mpd").read_text()
    (video,) = re.findall(r"<Representation [^>]*width=[^>]*>", manifest)
    assert f'width="{expected[0]}"' in video and f'height="{expected[1]}"' in video
