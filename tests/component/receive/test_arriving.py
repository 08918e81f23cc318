"""Live sources at web servers that send without a length: their beginning, what begins late in them, and their end."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import pytest

from streamwave.ffmpeg.arriving import Rewindable
from streamwave.receive.segmenter import Segmenter
from streamwave.spool.options import Options
from tests.matrix.flv import pictures_from, read_tags, write_tags
from tests.support.http import sent
from tests.support.late import FRAMES, heard, in_time, late
from tests.support.media import ffmpeg, make_clip
from tests.support.processes import wait_for
from tests.support.segmented import Spool, contiguous, read
from tests.support.sources import SIZE, in_sync, shown


def received(address: str, folder: Path) -> Spool:
    Segmenter(Options(source=address, spool=folder, live=True, segment_ms=1000)).run()
    return read(folder)


def ended(spool: Spool) -> None:
    assert spool.end is not None and (spool.end.reason, spool.end.error) == ("end of source", None)


@pytest.mark.parametrize("kind", ["ts", "mkv", "flv", "mp3", "ogg"])
def test_a_connection_that_is_closed_is_the_end(tmp_path: Path, kind: str) -> None:
    """Not an error of reading: where no length was said, nothing else could be the end."""
    pictures = kind not in ("mp3", "ogg")
    codec = ("-c:a", "libopus") if kind == "ogg" else ("-c:a", "libmp3lame") if kind == "mp3" else ("-bf", "0")
    clip = make_clip(tmp_path / f"a.{kind}", frames=75, gop=25, size=SIZE, video=pictures, options=codec)
    with sent(clip.path.read_bytes(), "stage") as address:
        spool = received(address, tmp_path / "spool")
    ended(spool)
    contiguous(spool)
    if pictures:
        assert shown(spool) == list(range(75))
        in_sync(spool)
    else:
        assert spool.chunks[-1].next_ms == pytest.approx(3000, abs=60)


def test_a_connection_that_stays_and_says_nothing_is_an_error_that_keeps_what_came(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.ts", frames=75, gop=25, size=SIZE, options=("-bf", "0"))
    held = threading.Event()
    with sent(clip.path.read_bytes(), "stage", held=held) as address:
        Segmenter(Options(source=address, spool=tmp_path / "spool", live=True, segment_ms=1000, read_timeout_s=1)).run()
        held.set()
    spool = read(tmp_path / "spool")
    assert spool.end is not None
    assert spool.end.error == f"{address} did not answer in time; check the address and the network"
    assert shown(spool) == list(range(75))


@pytest.mark.parametrize("announced", [True, False])
def test_sound_that_begins_late_in_flv(tmp_path: Path, announced: bool) -> None:
    write_tags(tmp_path / "a.flv", late(tmp_path, announced=announced))
    with sent((tmp_path / "a.flv").read_bytes(), "stage.flv") as address:
        spool = received(address, tmp_path / "spool")
    ended(spool)
    assert shown(spool) == list(range(FRAMES))
    in_time(heard(spool))


def test_pictures_that_begin_late_in_flv(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.flv", frames=150, gop=25, size=SIZE, options=("-bf", "0"))
    write_tags(tmp_path / "b.flv", pictures_from(read_tags(clip.path), 3000))
    with sent((tmp_path / "b.flv").read_bytes(), "stage", at_first=1) as address:
        spool = received(address, tmp_path / "spool")
    ended(spool)
    assert shown(spool) == list(range(75, 150))
    in_sync(spool)


def test_a_track_that_says_nothing_delays_nobody(tmp_path: Path) -> None:
    """Broadcasts list tracks that come now and then: a second language, what is said to the blind."""
    clip = make_clip(tmp_path / "a.ts", frames=125, gop=25, size=SIZE, options=("-bf", "0"))
    ffmpeg(
        *("-i", str(clip.path), "-itsoffset", "100", "-f", "lavfi", "-i", "sine=r=48000:d=1", "-map", "0", "-map", "1"),
        *("-c:v", "copy", "-c:a", "copy", "-c:a:1", "aac", "-t", "5", str(tmp_path / "b.ts")),
    )
    held, found = threading.Event(), list[Spool]()
    with sent((tmp_path / "b.ts").read_bytes(), "stage", held=held) as address:
        receiving = threading.Thread(target=lambda: found.append(received(address, tmp_path / "spool")))
        receiving.start()
        try:
            wait_for(lambda: (tmp_path / "spool").exists() and len(read(tmp_path / "spool").chunks) > 1, "chunks")
        finally:
            held.set()
            receiving.join(60)
    ended(found[0])
    assert shown(found[0]) == list(range(125))
    in_sync(found[0])


def test_what_was_remembered_is_read_again_until_that_is_over() -> None:
    flow = Rewindable(io.BytesIO(b"onetwothree"))
    assert (flow.read(2), flow.read(4)) == (b"on", b"etwo")
    flow.rewind()
    assert flow.read(9) == b"onetwo"
    flow.rewind()
    flow.settle()
    assert (flow.read(5), flow.read(5), flow.read(9), flow.read(9)) == (b"onetw", b"o", b"three", b"")
