"""Audio waits for pictures that are announced, known or found to come, and not for long where the source is live."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from av import Packet

from streamwave.model import SourceInfo
from streamwave.receive.opening import Tracks
from streamwave.receive.picture_wait import ANNOUNCED_S, KNOWN_S, MOST_PACKETS, PictureWait

INFO = SourceInfo(url="u", container="flv")


def packet(at_s: float) -> Packet[Any]:
    found: Packet[Any] = Packet(b"x")
    found.time_base, found.pts = Fraction(1, 1000), round(at_s * 1000)
    return found


def tracks(*, video: object = None, announced: bool = False, held: bool | None = None) -> Tracks:
    return Tracks(INFO, video, None, announced, held)


@pytest.mark.parametrize(("known", "limit_s"), [(False, ANNOUNCED_S), (True, KNOWN_S)])
def test_live_audio_waits_so_many_seconds(known: bool, limit_s: int) -> None:
    wait = PictureWait(live=True, known=known)
    wait.found(tracks(announced=not known))
    assert wait.goes_on([packet(0), packet(limit_s - 0.1)])
    assert not wait.goes_on([packet(0), packet(limit_s)])
    assert not wait.goes_on([packet(limit_s)]), "it does not begin again"


def test_pictures_end_the_waiting() -> None:
    wait = PictureWait(live=True, known=True)
    assert wait.goes_on([packet(0)])
    wait.found(tracks(video=object()))
    assert not wait.goes_on([packet(0)])


def test_nothing_is_waited_for_where_nothing_says_that_there_are_pictures() -> None:
    wait = PictureWait(live=True, known=False)
    wait.found(tracks())
    assert not wait.goes_on([packet(0)])


def test_audio_of_a_file_waits_for_pictures_that_were_found_in_it_however_late_they_are() -> None:
    wait = PictureWait(live=False, known=False)
    wait.found(tracks(held=True))
    assert wait.goes_on([packet(0), *[packet(3600)] * MOST_PACKETS])
    wait.found(tracks(held=False))
    assert not wait.goes_on([packet(0)])
