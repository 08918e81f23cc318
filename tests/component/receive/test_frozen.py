"""A picture stands still where sound goes on without pictures: at the end, and live until the next one comes."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import pytest

from streamwave.ffmpeg.chunks import open_chunk
from streamwave.ffmpeg.commands import EncoderSettings
from streamwave.ffmpeg.process import Launcher
from streamwave.ffmpeg.transcode import Transcoder
from streamwave.model import Chunk, Rendition, StreamLimits
from streamwave.receive import freeze
from streamwave.receive.clock import Timed
from streamwave.receive.writer import SessionWriter
from streamwave.spool.journal import LIMIT_REACHED
from streamwave.spool.quota import held_by_stream
from streamwave.timing import AAC_FRAME, Grid, split_evenly
from tests.matrix.flv import PICTURE, read_tags, write_tags
from tests.matrix.source import Recipe
from tests.support.media import ffmpeg_path
from tests.support.player import decode_pictures
from tests.support.segmented import Spool, contiguous, segment
from tests.support.standing import PLAIN

RATE = Fraction(25)
SMALL = Rendition(name="small", kind="video", width=160, height=90, max_bps=300_000)


class Counted(Transcoder):
    """Counts the processes."""

    processes = 0

    def _run(self, *arguments: object) -> str:
        Counted.processes += 1
        return super()._run(*arguments)  # type: ignore[arg-type]


def shown(spool: Spool, work: Path) -> list[int | None]:
    """The numbers of all pictures that come out."""
    transcoder, grid = Counted(ffmpeg_path(), EncoderSettings("ultrafast"), Launcher(2), work, 60), Grid(RATE)
    found: list[int | None] = []
    Counted.processes = 0
    for record in spool.chunks:
        first, after = grid.frame_at_ms(record.start_ms), grid.frame_at_ms(record.next_ms)
        chunk = Chunk(
            number=record.number, rate=RATE, first_frame=first, frame_count=after - first,
            segments=split_evenly(after - first, RATE), video_path=str(spool.folder / str(record.video_file)),
            later_ms=record.later_ms, held=record.held, audio_path=None,
        )  # fmt: skip
        transcoder.encode(chunk, [SMALL])
        data = transcoder.result_path(chunk, "small").read_bytes()
        found += [picture.number for picture in decode_pictures(data, grid.timescale)]
    return found


def due(times: tuple[Fraction, ...], end: Fraction) -> list[int]:
    """The numbers of the pictures at each place of the grid."""
    return [max(n for n, at in enumerate(times) if at <= place / RATE) for place in range(round(end * RATE))]


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is read faster than it is live: no time passes until it may be said that no picture comes."""
    monkeypatch.setattr(freeze, "PICTURES_UNSEEN_S", 0.0)


def test_the_last_picture_of_a_file_is_shown_as_long_as_there_is_sound(tmp_path: Path) -> None:
    recipe = Recipe(frames=60, gop=50, size=(320, 180), sound_until=Fraction(10))
    spool = segment(recipe.make(tmp_path / "a"), tmp_path / "spool")
    contiguous(spool)
    assert [(chunk.held, chunk.next_ms) for chunk in spool.chunks] == [
        (None, 2000), (None, 4000), (2, 6000), (2, 8000), (2, 10_000),
    ]  # fmt: skip
    assert shown(spool, tmp_path / "work") == due(recipe.shown_at, Fraction(10))
    assert Counted.processes == 3  # what is shown for as long as before is not encoded again
    assert abs(len(spool.sound()) - 10 * 48000 / AAC_FRAME) < 1
    assert not list(spool.folder.glob("*.held"))


@pytest.mark.parametrize("stops", [100, 110], ids=["before a keyframe", "in mid-GOP"])
@pytest.mark.usefixtures("hurried")
def test_a_camera_that_rests_while_its_sound_goes_on(tmp_path: Path, stops: int) -> None:
    times = tuple(n / RATE + (8 if n >= stops else 0) + (5 if n >= 140 else 0) for n in range(150))
    recipe = Recipe("flv", times=times, frames=150, size=(320, 180), codec=PLAIN)
    spool = segment(recipe.make(tmp_path / "a"), tmp_path / "spool", live=True)
    contiguous(spool)
    held = [chunk for chunk in spool.chunks if chunk.held is not None]
    assert held[0].start_ms - 1000 * stops / RATE < 2000 and len(held) > 2
    for chunk in spool.chunks:  # what it may cost to decode goes by that
        with open_chunk(spool.folder / str(chunk.video_file)) as container:
            assert sum(1 for packet in container.demux(video=0) if packet.size) == chunk.pictures + chunk.lead
    assert shown(spool, tmp_path / "work") == due(times, Fraction(19))
    # What was kept while it rested first has gone by the time that it rests again.
    assert [path.name for path in tmp_path.glob("work/held-*")] == [f"held-{held[-1].held}"] != [f"held-{held[0].held}"]
    assert not list(spool.folder.glob("*.held"))


@pytest.mark.usefixtures("hurried")
def test_a_camera_that_rests_often_is_not_decoded_from_its_only_keyframe_each_time(tmp_path: Path) -> None:
    """What is copied for a picture that is no keyframe is at most twice as long as what it is copied for."""
    times = tuple(min(n, 250) / RATE + max(n - 250, 0) * Fraction(18, 5) for n in range(256))
    recipe = Recipe("flv", times=times, frames=256, gop=10_000, size=(320, 180), codec=PLAIN)
    spool = segment(recipe.make(tmp_path / "a"), tmp_path / "spool", live=True)
    contiguous(spool)
    woken = [chunk for chunk in spool.chunks if chunk.held is None and chunk.lead]
    assert len(woken) > 1 and sum(chunk.pictures for chunk in spool.chunks) == 256
    assert all(after.start_ms - chunk.start_ms >= 5000 for chunk, after in zip(woken, woken[1:], strict=False))


@pytest.mark.usefixtures("hurried")
def test_a_camera_that_stops_for_good(tmp_path: Path) -> None:
    recipe = Recipe("flv", frames=110, size=(320, 180), codec=PLAIN, sound_until=Fraction(16))
    spool = segment(recipe.make(tmp_path / "a"), tmp_path / "spool", live=True)
    contiguous(spool)
    assert len([chunk for chunk in spool.chunks if chunk.held is not None]) > 4
    numbers = shown(spool, tmp_path / "work")
    assert numbers == due(recipe.shown_at, len(numbers) / RATE)
    assert abs(len(numbers) - 16 * RATE) <= 2  # FLV does not tell where its sound ends


@pytest.mark.usefixtures("hurried")
def test_pictures_that_come_after_all_for_what_has_been_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are to be shown before that are left out, and those after are decoded from them."""
    monkeypatch.setattr(freeze, "PICTURES_BEHIND_MS", -2000)
    times = tuple(n / RATE + (8 if n >= 110 else 0) for n in range(200))
    recipe = Recipe("flv", times=times, frames=200, size=(320, 180), codec=PLAIN)
    spool = segment(recipe.make(tmp_path / "a"), tmp_path / "spool", live=True)
    contiguous(spool)
    numbers = shown(spool, tmp_path / "work")
    right = due(times, Fraction(16))
    woken = next(n for n, number in enumerate(numbers) if number is not None and number > 109)
    assert numbers[:woken] == [min(number, 109) for number in right[:woken]]
    assert numbers[woken:] == right[woken:] and 8 * RATE + 110 < woken < 8 * RATE + 160


@pytest.mark.usefixtures("hurried")
def test_a_picture_that_stands_still_fills_its_share_of_the_spool_as_any_other(tmp_path: Path) -> None:
    path = Recipe("flv", frames=110, size=(320, 180), codec=PLAIN, sound_until=Fraction(30)).make(tmp_path / "a")
    whole = segment(path, tmp_path / "whole" / "show" / "1" / "000000", live=True)
    limit = held_by_stream(tmp_path / "whole")["show"]
    limits = StreamLimits(spool_bytes=limit)  # of which it may have a half
    spool = segment(path, tmp_path / "spool" / "show" / "1" / "000000", live=True, stream_limits=limits)
    contiguous(spool)
    assert spool.end is not None and spool.end.reason == LIMIT_REACHED
    assert spool.chunks[-1].held is not None and len(spool.chunks) < len(whole.chunks)
    assert held_by_stream(tmp_path / "spool")["show"] < limit * 0.7


@pytest.mark.usefixtures("hurried")
def test_pictures_that_come_far_too_late_do_not_end_it(tmp_path: Path) -> None:
    """The last ones before the camera stops are sent long after their sound, which goes on."""

    def late(source: Path, target: Path) -> None:
        tags = read_tags(source)
        due = [tag.ms + 6000 * (tag.kind == PICTURE and not tag.header and tag.ms > 4100) for tag in tags]
        write_tags(target, [tag for _, tag in sorted(zip(due, tags, strict=True), key=lambda pair: pair[0])])

    recipe = Recipe("flv", frames=110, size=(320, 180), codec=PLAIN, sound_until=Fraction(20), rework=late, first="flv")
    spool = segment(recipe.make(tmp_path / "a"), tmp_path / "spool", live=True)
    contiguous(spool)
    numbers = shown(spool, tmp_path / "work")
    assert abs(len(numbers) - 20 * RATE) <= 2
    assert numbers[:102] == list(range(102)) and set(numbers[102:]) == {101}
    assert abs(len(spool.sound()) - 20 * 48000 / AAC_FRAME) < 3


def test_a_camera_that_comes_back_behind_its_sound_for_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From when its pictures are sent 6 s after their sound: they are waited for while they come, not shown never."""
    clock = [0.0]
    follow = SessionWriter.follow

    def passing(self: SessionWriter, timed: Timed) -> None:
        if timed.kind == "audio":  # which is sent when it is heard
            clock[0] = float(timed.decoded)
        follow(self, timed)

    monkeypatch.setattr(SessionWriter, "follow", passing)
    monkeypatch.setattr(freeze, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    def late(source: Path, target: Path) -> None:
        tags = read_tags(source)
        due = [tag.ms + 6000 * (tag.kind == PICTURE and not tag.header and tag.ms > 10_000) for tag in tags]
        write_tags(target, [tag for _, tag in sorted(zip(due, tags, strict=True), key=lambda pair: pair[0])])

    times = tuple(n / RATE + (8 if n >= 100 else 0) for n in range(500))
    recipe = Recipe(
        "flv", times=times, frames=500, size=(320, 180), codec=PLAIN, sound_until=Fraction(28), rework=late, first="flv"
    )
    spool = segment(recipe.make(tmp_path / "a"), tmp_path / "spool", live=True)
    contiguous(spool)
    numbers = shown(spool, tmp_path / "work")
    assert len([chunk for chunk in spool.chunks if chunk.held is not None]) < 8
    assert set(numbers[numbers.index(99) :]) > set(range(300, 500)) and len(numbers) == 28 * RATE
