"""The segmenter on sources as publishers really send them: every picture comes out once, in sync with its sound."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from streamwave.timing import Grid
from tests.support.media import make_clip, picture_flashes
from tests.unit.spool.test_audio import decode, onsets
from tests.unit.spool.test_segmenter import Spool, contiguous, luma_number, segment

SIZE = "160x90"


def shown(spool: Spool) -> list[int | None]:
    """The number of the picture on each place of the grid, decoded chunk by chunk as a transcoder does it.

    None where no picture came.
    """
    assert spool.opened is not None and spool.opened.rate is not None
    grid = Grid(spool.opened.rate)
    found: list[int | None] = []
    for chunk in spool.chunks:
        assert chunk.video_file is not None
        first, after = grid.frame_at_ms(chunk.start_ms), grid.frame_at_ms(chunk.next_ms)
        places: list[int | None] = [None] * (after - first)
        with av.open(str(spool.folder / chunk.video_file)) as container:
            for frame in container.decode(video=0):
                assert frame.pts is not None
                place = grid.frame_at_ms(frame.pts) - first
                if 0 <= place < len(places):
                    assert places[place] is None, f"two pictures on place {first + place}"
                    places[place] = luma_number(frame)
        assert len([n for n in places if n is not None]) == chunk.pictures
        found += places
    return found


def offsets(spool: Spool) -> list[float]:
    """How much later than its flash each beep is heard, in seconds."""
    assert spool.opened is not None and spool.opened.rate is not None
    flashes: list[float] = []
    lit = False
    for chunk in spool.chunks:
        assert chunk.video_file is not None
        with av.open(str(spool.folder / chunk.video_file)) as container:
            for frame in container.decode(video=0):
                assert frame.pts is not None
                if chunk.start_ms <= frame.pts < chunk.next_ms:
                    luma: NDArray[np.uint8] = frame.to_ndarray(format="gray").astype(np.uint8)
                    now = picture_flashes(luma)
                    if now and not lit:
                        flashes.append(frame.pts / 1000)
                    lit = now
    beeps = onsets(decode(spool.sound()))
    assert flashes and len(flashes) == len(beeps), (flashes, beeps)
    return [beep - flash for flash, beep in zip(flashes, beeps, strict=True)]


def in_sync(spool: Spool) -> None:
    assert max(abs(offset) for offset in offsets(spool)) <= 0.010, offsets(spool)


@pytest.mark.parametrize(
    ("kind", "codec"),
    [
        ("mp4", ("libx264", "-x264-params", "open-gop=1:b-adapt=0:bframes=3:b-pyramid=normal")),
        ("ts", ("libx265", "-preset", "ultrafast", "-x265-params", "log-level=0:open-gop=1:b-adapt=0:bframes=3")),
        ("ts", ("mpeg2video", "-b:v", "1M")),
    ],
)
def test_pictures_that_are_shown_before_their_keyframe_are_not_lost(
    tmp_path: Path, kind: str, codec: tuple[str, ...]
) -> None:
    """An open GOP: leading pictures refer to the keyframe after them and to the chunk before it."""
    clip = make_clip(tmp_path / f"a.{kind}", frames=125, gop=25, size=SIZE, options=("-c:v", *codec))
    spool = segment(clip.path, tmp_path / "spool", segment_ms=1000)
    contiguous(spool)
    assert len(spool.chunks) >= 5
    assert shown(spool) == list(range(125))
    in_sync(spool)


def test_a_raw_stream_has_its_pictures_in_the_order_in_which_they_are_shown(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.h264", frames=60, audio=False, size=SIZE, options=("-bf", "0"))
    assert shown(segment(clip.path, tmp_path / "spool")) == list(range(60))
