"""A publisher whose video begins late, and that reconnects without video: each is a broadcast that plays completely."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from streamwave.spool.broadcast import BroadcastSpool, broadcasts
from tests.e2e.browser import PlayerHarness
from tests.matrix.flv import PICTURE, Tag, pictures_from, read_tags
from tests.matrix.live import play, send
from tests.support.live import (
    Installation,
    assert_ffmpeg_plays,
    installation,
    periods,
    picture_numbers,
    status_warnings,
)
from tests.support.media import make_clip
from tests.support.player import decode_sound
from tests.support.processes import wait_for

RATE, FRAMES, LATE_MS = Fraction(25), 400, 4000
BACK_MS = 12_000
#: What is sent until the next segmenter is ready is lost; if that takes longer, the publisher is disconnected.
HANDOVER_S = 5


@pytest.fixture
def tags(tmp_path: Path) -> list[Tag]:
    return read_tags(make_clip(tmp_path / "a.flv", frames=FRAMES, gop=25, options=("-bf", "0")).path)


def sound_s(root: Path) -> float:
    (period,) = periods(root)
    return len(decode_sound(period["audio"].data).samples) / 48000


def spools(running: Installation, count: int) -> list[BroadcastSpool]:
    def found() -> list[BroadcastSpool]:
        known = broadcasts(running.settings.spool_dir, "show")
        return known if len(known) >= count else []

    known = wait_for(found, f"{count} broadcasts")
    assert len(known) == count
    return known


def test_pictures_that_begin_late_and_a_publisher_who_comes_back_without(
    tmp_path: Path, tags: list[Tag], prefect_api: str, prefect_home: Path, harness: PlayerHarness
) -> None:
    live = tmp_path / "live"
    live.mkdir()
    late = pictures_from(tags, LATE_MS, announced=False)
    alone = [tag for tag in pictures_from(tags, 0, announced=False) if tag.kind != PICTURE and tag.ms < BACK_MS]
    with installation(live, prefect_home, PREFECT_API_URL=prefect_api) as running:
        address = running.address(running.add_stream("show"))
        send(late, address)
        send(alone, address)
        # The first two have ended; the third waits for its publisher to reconnect.
        roots = [running.finished(spool) for spool in spools(running, 3)]

        assert [set(periods(root)[0]) for root in (roots[0], roots[2])] == [{"audio"}, {"audio"}]
        assert sound_s(roots[0]) == pytest.approx(LATE_MS / 1000, abs=0.5)
        assert BACK_MS / 1000 - HANDOVER_S - 1 < sound_s(roots[2]) < BACK_MS / 1000 + 0.5
        (shown,) = periods(roots[1])
        numbers = picture_numbers(shown, RATE)
        assert numbers == list(range(numbers[0], FRAMES))
        # The next segmenter has to be ready before the next keyframe.
        assert LATE_MS * RATE / 1000 <= numbers[0] <= LATE_MS * RATE / 1000 + (HANDOVER_S + 1) * RATE
        assert sound_s(roots[1]) == pytest.approx(float(len(numbers) / RATE), abs=0.05)
        for root in roots:
            assert_ffmpeg_plays(root)
        assert [status_warnings(spool) for spool in spools(running, 3)] == [[], [], []]
        place = roots[1].relative_to(running.folder / "out")
        assert play(harness, f"http://127.0.0.1:{running.settings.media_port}/media/{place}") == []
