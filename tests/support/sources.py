"""Sources of several kinds, and checks of their segmented result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from streamwave.receive.segmenter import Segmenter
from streamwave.spool.broadcast import open_session
from streamwave.spool.options import Options
from streamwave.timing import Grid
from tests.support.media import picture_flashes
from tests.support.onsets import decode, onsets
from tests.support.segmented import Spool, luma_number, read

SIZE = "160x90"


def shown(spool: Spool) -> list[int | None]:
    """The frame number at each point of the frame grid, decoded chunk by chunk, as the transcoder does.

    None where there is no frame.
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
    """Delay of each beep relative to its flash, in seconds."""
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


def flv_from(clip: Path, target: Path, move: Callable[[int, int], int]) -> Path:
    """Write ``clip``, an FLV file, with other timestamps: ``move`` gets the kind of a tag (8 sound, 9 video) and its ms."""
    data, at = bytearray(clip.read_bytes()), 13
    while at < len(data):
        kind, size = data[at], int.from_bytes(data[at + 1 : at + 4], "big")
        stamp = data[at + 7] << 24 | int.from_bytes(data[at + 4 : at + 7], "big")
        moved = move(kind, stamp) % 2**32
        data[at + 4 : at + 7], data[at + 7] = (moved & 0xFFFFFF).to_bytes(3, "big"), moved >> 24
        at += 11 + size + 4
    target.write_bytes(data)
    return target


def segment_broadcast(source: Path, root: Path) -> list[Spool]:
    """The sessions that result from one connection."""
    _, session = open_session(root, "stage", output="memory://out", window_ms=0)
    Segmenter(Options(source=f"file:{source}", spool=session, segment_ms=1000)).run()
    return [read(folder) for folder in sorted(session.parent.iterdir()) if folder.is_dir()]


def joined(first: Path, second: Path, target: Path, *, at_ms: int) -> Path:
    """Data of one connection that sends ``first`` and then, from ``at_ms`` on, ``second``; both FLV or both MPEG-TS."""
    if target.suffix == ".flv":
        later = flv_from(second, target.with_suffix(".later"), lambda kind, ms: ms + at_ms).read_bytes()
        target.write_bytes(first.read_bytes() + later[13:])
    else:
        target.write_bytes(first.read_bytes() + second.read_bytes())
    return target
