"""Sound that begins long after the pictures, in FLV files and over RTMP: it is all there, in sync, and costs no picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamwave.ffmpeg.flv import SoundTag, TagFlow
from streamwave.ffmpeg.probe import probe
from streamwave.receive.segmenter import Segmenter
from streamwave.spool.options import Options
from streamwave.timing import AAC_FRAME
from tests.matrix.flv import FILE_HEADER, PICTURE, SCRIPT, SOUND, Tag, read_tags, tag_bytes, write_tags
from tests.support.late import FRAMES, RATE, advised, heard, in_time, late, segment_live, served
from tests.support.media import QUIET, make_clip
from tests.support.onsets import decode
from tests.support.segmented import Spool, contiguous, read, segment
from tests.support.sources import SIZE, shown


def whole_sound(spool: Spool) -> None:
    assert len(spool.sound()) == pytest.approx(FRAMES / RATE * 48000 / AAC_FRAME, abs=2)


def test_a_file_in_which_sound_begins_late_has_it(tmp_path: Path) -> None:
    """However much comes before it."""
    tags = late(tmp_path)
    write_tags(tmp_path / "a.flv", [*tags[:3], *[Tag(SCRIPT, 0, bytes(1 << 20))] * 6, *tags[3:]])
    info = probe(f"file:{tmp_path / 'a.flv'}")
    assert info.audio is not None and info.audio.codec == "aac"
    spool = segment(tmp_path / "a.flv", tmp_path / "spool", segment_ms=1000)
    contiguous(spool)
    assert shown(spool) == list(range(FRAMES))
    in_time(heard(spool))
    whole_sound(spool)


@pytest.mark.parametrize("codec", [(), ("libmp3lame", "-ar", "44100")])
def test_live_sound_that_was_announced_is_silent_until_it_begins(tmp_path: Path, codec: tuple[str, ...]) -> None:
    (spool,) = segment_live(late(tmp_path, *codec), tmp_path)
    contiguous(spool)
    assert spool.end is not None and (spool.end.reason, spool.end.error) == ("end of source", None)
    assert shown(spool) == list(range(FRAMES))
    in_time(heard(spool))
    whole_sound(spool)


def test_live_sound_that_was_announced_and_never_comes_is_silence(tmp_path: Path) -> None:
    (spool,) = segment_live(late(tmp_path, sound=False), tmp_path)
    contiguous(spool)
    assert shown(spool) == list(range(FRAMES))
    whole_sound(spool)
    assert abs(decode(spool.sound())).max() < 1e-3


def test_live_sound_that_nothing_announced_begins_within_the_silence(tmp_path: Path) -> None:
    (spool,) = segment_live(late(tmp_path, announced=False), tmp_path)
    contiguous(spool)
    assert shown(spool) == list(range(FRAMES))
    assert spool.opened is not None and spool.opened.sample_rate == 48000 and spool.opened.source.audio is None
    in_time(heard(spool))
    whole_sound(spool)
    assert advised(spool) == ["sound-missing", "sound-late"]


@pytest.mark.parametrize("late_ms", [2960, 3000, 3040])
def test_the_beginning_of_unannounced_sound_is_not_lost_where_chunks_meet(tmp_path: Path, late_ms: int) -> None:
    tags = late(tmp_path, announced=False, late_ms=late_ms)
    begins = next(tag.ms for tag in tags if tag.kind == SOUND and not tag.header)
    # As encoders do, it sends the sound a little later than the pictures of the same time.
    tags.sort(key=lambda tag: tag.ms + 80 * (tag.kind == SOUND))
    (spool,) = segment_live(tags, tmp_path)
    assert shown(spool) == list(range(FRAMES))
    audible = np.flatnonzero(np.abs(decode(spool.sound())).max(axis=0) > QUIET / 2)
    # A decoder that begins in the middle of a tone gives it from the second frame on; an encoder blurs where it begins.
    assert abs(audible[0] - begins * 48) <= AAC_FRAME
    in_time(heard(spool)[-2:])
    whole_sound(spool)


def test_unannounced_sound_after_a_change_of_the_pictures(tmp_path: Path) -> None:
    """The session that the change begins has silence, too, until the sound comes."""
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    mute = late(folders[0], announced=False, sound=False)
    other = [replace(tag, ms=tag.ms + FRAMES * 40) for tag in late(folders[1], announced=False, size="128x96")]
    first, second = segment_live([*mute, *other], tmp_path)
    for spool in (first, second):
        contiguous(spool)
        assert shown(spool) == list(range(FRAMES))
        whole_sound(spool)
    assert abs(decode(first.sound())).max() < 1e-3
    in_time(heard(second))


def test_unannounced_sound_of_what_is_transcoded_as_a_file_is_told(tmp_path: Path) -> None:
    """Its renditions were planned before anything was received."""
    with served(late(tmp_path, announced=False, late_ms=5500), tmp_path) as address:
        Segmenter(Options(source=address, spool=tmp_path / "spool", segment_ms=1000, read_timeout_s=10)).run()
    spool = read(tmp_path / "spool")
    assert shown(spool) == list(range(FRAMES))
    assert spool.opened is not None and spool.opened.sample_rate is None and not spool.sound()
    assert advised(spool) == ["sound-late"]


def test_live_sound_that_nothing_announced_in_the_first_chunk(tmp_path: Path) -> None:
    (spool,) = segment_live(late(tmp_path, announced=False), tmp_path, segment_ms=5000)
    contiguous(spool)
    assert [chunk.pictures for chunk in spool.chunks] == [125, 25]
    assert shown(spool) == list(range(FRAMES))
    assert spool.opened is not None and spool.opened.source.audio is not None
    in_time(heard(spool))
    whole_sound(spool)


def test_live_pictures_without_any_sound_have_silence(tmp_path: Path) -> None:
    """Their publisher may come back with sound; players go from a period without any into one that has it with trouble."""
    (spool,) = segment_live(late(tmp_path, announced=False, sound=False), tmp_path)
    contiguous(spool)
    assert shown(spool) == list(range(FRAMES))
    assert spool.opened is not None and spool.opened.sample_rate == 48000 and spool.opened.source.audio is None
    whole_sound(spool)
    assert abs(decode(spool.sound())).max() < 1e-3
    assert advised(spool) == ["sound-missing"]


@pytest.mark.parametrize("live", [True, False])
def test_sound_that_goes_on_in_another_codec(tmp_path: Path, live: bool) -> None:
    """From AAC to MP3, over one connection or in one file."""
    aac = [tag for tag in late(tmp_path) if tag.kind != SOUND]
    first = read_tags(make_clip(tmp_path / "whole.flv", frames=FRAMES, gop=25, size=SIZE, options=("-bf", "0")).path)
    mp3 = [tag for tag in late(tmp_path, "libmp3lame") if tag.kind == SOUND]
    before = [tag for tag in first if tag.kind == SOUND and tag.ms < mp3[0].ms]
    tags = sorted([*aac, *before, *mp3], key=lambda tag: (tag.ms, tag.kind != SCRIPT, tag.kind != PICTURE))
    write_tags(tmp_path / "a.flv", tags)
    spool = segment_live(tags, tmp_path)[0] if live else segment(tmp_path / "a.flv", tmp_path / "spool")
    contiguous(spool)
    assert shown(spool) == list(range(FRAMES))
    assert heard(spool) == pytest.approx([(25 * n + 1) / RATE for n in range(6)], abs=0.010)


def test_what_is_no_tags_goes_through_as_it_is() -> None:
    """Whatever is broken in a source is for libavformat to find a way around."""
    picture = tag_bytes(Tag(PICTURE, 0, b"\x17\x01" + bytes(100)))
    sound = tag_bytes(Tag(SOUND, 40, b"\xaf\x01" + bytes(20)))
    noise = b"\xff" * 300
    taken: list[SoundTag] = []
    data = FILE_HEADER + picture + sound + noise + sound
    flow = TagFlow(iter([data[n : n + 7] for n in range(0, len(data), 7)]), taken.append)
    flow.settle(known=False)
    out = b""
    while piece := flow.read(50):
        assert len(piece) <= 50
        out += piece
    assert out == FILE_HEADER + picture + noise + sound
    assert [(tag.ms, tag.coded) for tag in taken] == [(40, bytes(20))]
