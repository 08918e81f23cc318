"""Pictures that begin after the sound, over RTMP and in FLV files: all of them are there, and so is the sound."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamwave.spool.journal import PICTURES_BEGIN, PICTURES_GONE
from streamwave.timing import AAC_FRAME
from tests.matrix.flv import PICTURE, SCRIPT, Tag, pictures_from, read_tags, write_tags
from tests.support.late import advised, segment_live
from tests.support.media import make_clip
from tests.support.onsets import decode, onsets
from tests.support.segmented import Spool, contiguous, segment
from tests.support.sources import SIZE, shown

FRAMES, RATE = 250, 25
#: The flashes at 0.04 s, 1.04 s and so on are heard. Sound alone begins with the priming of its encoder.
BEEPS_S = [(1 + 25 * n) / RATE for n in range(10)]
PRIMING_S = AAC_FRAME / 48000


def late(folder: Path, from_ms: int, *, announced: bool = True) -> list[Tag]:
    """An FLV clip with a keyframe every second whose pictures begin at ``from_ms``."""
    options = ("-bf", "0")
    clip = make_clip(folder / "whole.flv", frames=FRAMES, gop=25, size=SIZE, options=options)
    return pictures_from(read_tags(clip.path), from_ms, announced=announced)


def heard_s(spool: Spool, from_ms: int) -> list[float]:
    return [at + from_ms / 1000 for at in onsets(decode(spool.sound()))]


def with_pictures(spool: Spool, from_ms: int) -> None:
    """All pictures from ``from_ms`` on are in the session, in sync with its sound."""
    contiguous(spool)
    assert spool.end is not None and (spool.end.reason, spool.end.error) == ("end of source", None)
    assert shown(spool) == list(range(from_ms * RATE // 1000, FRAMES))
    assert heard_s(spool, from_ms) == pytest.approx([at for at in BEEPS_S if at * 1000 >= from_ms], abs=0.010)


@pytest.mark.parametrize("from_ms", [1000, 4000])
def test_live_pictures_that_were_announced_are_awaited(tmp_path: Path, from_ms: int) -> None:
    (spool,) = segment_live(late(tmp_path, from_ms), tmp_path)
    with_pictures(spool, from_ms)
    assert "pictures-late" not in advised(spool) and "sound-early" in advised(spool)


def test_late_pictures_that_are_known_to_come_are_awaited(tmp_path: Path) -> None:
    (spool,) = segment_live(late(tmp_path, 9000, announced=False), tmp_path, await_pictures=True)
    with_pictures(spool, 9000)


def sound_alone(spool: Spool, until_ms: int) -> None:
    """All of the sound up to then is there, and no picture."""
    contiguous(spool)
    assert all(chunk.video_file is None for chunk in spool.chunks)
    assert spool.chunks[-1].next_ms == pytest.approx(until_ms, abs=50)
    due = [at + PRIMING_S for at in BEEPS_S if at * 1000 < until_ms]
    assert heard_s(spool, 0) == pytest.approx(due, abs=0.010)


@pytest.mark.parametrize(("from_ms", "announced"), [(4000, False), (8000, True)])
def test_live_pictures_that_come_to_sound_alone_are_left_out_and_that_is_said(
    tmp_path: Path, from_ms: int, announced: bool
) -> None:
    (spool,) = segment_live(late(tmp_path, from_ms, announced=announced), tmp_path)
    sound_alone(spool, FRAMES * 1000 // RATE)
    assert spool.end is not None and (spool.end.reason, spool.end.error) == ("end of source", None)
    assert advised(spool) == ["pictures-late"]


def test_live_pictures_that_come_to_sound_alone_ask_for_another_broadcast(tmp_path: Path) -> None:
    (spool,) = segment_live(late(tmp_path, 4000, announced=False), tmp_path, renewable=True, ends=False)
    sound_alone(spool, 4000)
    assert spool.end is not None and (spool.end.reason, spool.end.error) == (PICTURES_BEGIN, None)


@pytest.mark.parametrize("pictures", [False, True])
def test_who_comes_back_with_or_without_pictures_asks_for_another_broadcast(tmp_path: Path, pictures: bool) -> None:
    tags = late(tmp_path, 0)
    mute = [tag for tag in late(tmp_path, 0, announced=False) if tag.kind != PICTURE]
    segment_live(mute if pictures else tags, tmp_path, renewable=True)
    first, second = segment_live(tags if pictures else mute, tmp_path, renewable=True, ends=False)
    assert first.end is not None and first.end.reason == "end of source" and first.chunks
    assert second.end is not None and second.end.error is None and not second.chunks
    assert second.end.reason == (PICTURES_BEGIN if pictures else PICTURES_GONE)


def test_pictures_that_were_announced_and_never_come_leave_the_sound(tmp_path: Path) -> None:
    tags = [tag for tag in late(tmp_path, 9000) if tag.ms < 8900]
    (spool,) = segment_live(tags, tmp_path)
    contiguous(spool)
    assert spool.end is not None and (spool.end.reason, spool.end.error) == ("end of source", None)
    assert spool.chunks[-1].next_ms == pytest.approx(8900, abs=50)
    assert advised(spool) == []


def test_a_short_source_whose_pictures_never_come_leaves_the_sound(tmp_path: Path) -> None:
    (spool,) = segment_live([tag for tag in late(tmp_path, 9000) if tag.ms < 2900], tmp_path)
    contiguous(spool)
    assert spool.chunks[-1].next_ms == pytest.approx(2900, abs=50)


def test_a_file_in_which_pictures_begin_late_has_them(tmp_path: Path) -> None:
    """However much comes before them."""
    tags = late(tmp_path, 8000)
    write_tags(tmp_path / "a.flv", [*tags[:3], *[Tag(SCRIPT, 0, bytes(1 << 20))] * 6, *tags[3:]])
    with_pictures(segment(tmp_path / "a.flv", tmp_path / "spool"), 8000)


def test_what_has_all_been_sent_stays_in_its_broadcast(tmp_path: Path) -> None:
    """Nobody could receive it once more."""
    mute = [tag for tag in late(tmp_path, 0, announced=False) if tag.kind != PICTURE and tag.ms < 2000]
    segment_live(late(tmp_path, 0), tmp_path, renewable=True)
    _, second = segment_live(mute, tmp_path, renewable=True)
    sound_alone(second, 2000)
