"""What a publisher could do better is found once, said in the journal, and by a look through a file's first packets."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from av import Packet

from streamwave.model import Rendition
from streamwave.receive.advisor import Advisor
from streamwave.receive.clock import Timed
from streamwave.receive.quick_probe import look
from streamwave.spool import advice
from streamwave.spool.advice import bitrate
from streamwave.spool.follow import Follower
from tests.support.media import ffmpeg, make_clip
from tests.support.segmented import segment
from tests.support.sources import SIZE, flv_from, joined, segment_broadcast

TOP = Rendition(name="1080p", kind="video", width=1920, height=1080, max_bps=5_000_000)


def picture(at_ms: int, *, key: bool = False) -> Timed:
    packet: Packet[Any] = Packet(b"x")
    packet.is_keyframe = key
    return Timed(packet, "video", Fraction(at_ms, 1000), Fraction(at_ms, 1000))


def codes(advisor: Advisor) -> list[str]:
    return [found.code for found in advisor.take()]


def test_rare_and_missing_keyframes() -> None:
    advisor = Advisor(live=True)
    for at_ms in range(0, 30_000, 100):
        advisor.picture(picture(at_ms, key=at_ms in (0, 2000, 7000)), at_ms)
    found = advisor.take()
    assert [(one.code, one.at_ms) for one in found] == [("keyframes-rare", 7000), ("keyframe-missing", 19_100)]
    assert "5.0 s apart" in found[0].text and "interval to 2 s" in found[0].text


def test_nothing_to_say() -> None:
    advisor = Advisor(live=True)
    for at_ms in range(0, 120_000, 40):
        # Whatever a server had kept comes at once; later the network trembles.
        arrived = 5000 + max(0, at_ms - 5000) + at_ms * 7 % 300
        advisor.picture(picture(at_ms, key=at_ms % 2000 == 0), arrived)
    advisor.counts(Fraction(120), jumps=0, lost=0, damaged=0, slip=Fraction(1, 10))
    assert codes(advisor) == []


def test_sound_that_does_not_come_and_comes_after_all() -> None:
    advisor = Advisor(live=True)
    for at_ms in (0, 2000, 4000, 6000):
        advisor.picture(picture(at_ms, key=True), at_ms)
        advisor.counts(Fraction(at_ms, 1000), jumps=0, lost=0, damaged=0, slip=Fraction(0), heard=False)
    advisor.sound_begins(Fraction(13, 2))
    found = advisor.take()
    assert [(one.code, one.at_ms) for one in found] == [("sound-missing", 4000), ("sound-late", 6500)]
    assert "no audio has arrived for 4.0 s" in found[0].text and "began 6.5 s into" in found[1].text


def test_sound_that_begins_soon_or_in_a_file_is_nothing_to_tell() -> None:
    for live, at_ms in ((True, 2500), (False, 6500)):
        advisor = Advisor(live=live)
        advisor.picture(picture(0, key=True), 0)
        advisor.counts(Fraction(at_ms, 1000), jumps=0, lost=0, damaged=0, slip=Fraction(0), heard=False)
        advisor.sound_begins(Fraction(at_ms, 1000))
        assert codes(advisor) == []


def test_b_frames_matter_only_where_it_is_live() -> None:
    for live in (True, False):
        advisor = Advisor(live=live)
        for at_ms in (0, 120, 40, 80):
            advisor.picture(picture(at_ms, key=at_ms == 0), at_ms)
        assert codes(advisor) == (["b-frames-live"] if live else [])


@pytest.mark.parametrize(("per_mille", "how"), [(20, "more than"), (-20, "less than")])
def test_a_source_whose_clock_is_not_ours(per_mille: int, how: str) -> None:
    advisor = Advisor(live=True)
    for n in range(3600):
        at_ms = 40 * n
        advisor.picture(picture(at_ms, key=n % 50 == 0), at_ms - at_ms * per_mille // 1000)
    (found,) = advisor.take()
    assert found.code == "clock-drift" and how in found.text


def test_too_few_and_too_many_bits() -> None:
    found = [bitrate(bps, (TOP,)) for bps in (800_000, 1_300_000, 14_000_000, 16_000_000, 0)]
    assert [one.code if one else None for one in found] == ["bitrate-low", None, None, "bitrate-high", None]


def test_the_journal_has_it_and_who_follows_it_hears(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.flv", frames=150, gop=125, size=SIZE, options=("-bf", "0"))
    moved = flv_from(clip.path, tmp_path / "b.flv", lambda kind, ms: ms + (3_600_000 if ms >= 2000 else 0))
    segment(moved, tmp_path / "spool")
    follower = Follower(tmp_path / "spool")
    assert len(list(follower.chunks())) == 2
    assert sorted(found.code for found in follower.advice) == ["clock-jumped", "keyframes-rare"]


def test_another_size_is_told(tmp_path: Path) -> None:
    first = make_clip(tmp_path / "a.flv", frames=60, gop=25, size=SIZE)
    second = make_clip(tmp_path / "b.flv", frames=50, gop=25, size="320x180")
    segment_broadcast(joined(first.path, second.path, tmp_path / "c.flv", at_ms=2400), tmp_path / "spools")
    (two,) = tmp_path.glob("spools/stage/*/000001")
    follower = Follower(two)
    follower.poll()
    assert [found.code for found in follower.advice] == ["size-changed"]
    assert "160x90 to 320x180" in follower.advice[0].text


def test_a_look_through_a_file(tmp_path: Path) -> None:
    fine = make_clip(tmp_path / "a.mp4", frames=75, gop=50, size=SIZE)
    rung = Rendition(name="90p", kind="video", width=160, height=90, max_bps=60_000)
    assert look(f"file:{fine.path}", (rung,)) == []
    rare = make_clip(tmp_path / "b.mp4", frames=150, gop=125, size=SIZE)
    assert [found.code for found in look(f"file:{rare.path}", (TOP,))] == ["keyframes-rare", "bitrate-low"]
    ffmpeg(
        *("-i", str(fine.path), "-vf", "select='lt(mod(n*n\\,7)\\,3)'", "-fps_mode", "vfr", "-an"),
        *("-c:v", "libx264", str(tmp_path / "c.mkv")),
    )
    assert [found.code for found in look(f"file:{tmp_path / 'c.mkv'}", (rung,))] == ["rate-varies"]


def test_advice_is_for_whom_it_reaches() -> None:
    """The owner of a file has neither an encoder to set nor a network to look after; a publisher has."""
    for live in (True, False):
        advisor = Advisor(live=live)
        for second in range(0, 40, 2):
            advisor.picture(picture(second * 1000, key=second in (0, 10)), second * 1000)
        advisor.counts(Fraction(40), jumps=1, lost=1, damaged=2, slip=Fraction(3))
        found = [*advisor.take(), advice.sound_early(Fraction(5), live=live), advice.pictures_late(4000, live=live)]
        found.append(advice.rate_varies(Fraction(25), live=live))
        said = [one.text for one in found if one is not None]
        assert len(said) == 9, said
        of_publishers = [text for text in said if re.search("encoder|network|sound card|the stream, so", text)]
        assert len(of_publishers) == (7 if live else 0), of_publishers
