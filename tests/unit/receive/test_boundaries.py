"""A chunk ends at a keyframe once it is long enough, and at every edit."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from av import Packet

from streamwave.receive import pictures
from streamwave.receive.boundaries import ends_at, is_long_enough
from streamwave.receive.chunkfile import VideoChunk
from streamwave.spool.options import Options

FILE, LIVE = (Options(source="x", spool=Path("x"), segment_ms=2000, live=live) for live in (False, True))


def chunk(start_ms: int = 4000, key_ms: int | None = None, hidden_ms: int = 0) -> VideoChunk:
    key_ms = start_ms if key_ms is None else key_ms
    return cast(VideoChunk, SimpleNamespace(start_ms=start_ms, key_ms=key_ms, hidden_ms=hidden_ms))


def key() -> Packet[Any]:
    return Packet(b"x")


@pytest.mark.parametrize(("at_ms", "ends"), [(5799, False), (5800, True), (7000, True)])
def test_a_keyframe_may_come_a_tenth_early(at_ms: int, ends: bool) -> None:
    assert is_long_enough(chunk(), at_ms, FILE) is ends_at(chunk(), key(), at_ms, FILE) is ends


def test_a_live_chunk_that_began_without_a_keyframe_ends_at_the_first_one() -> None:
    assert is_long_enough(chunk(key_ms=1000), 4001, LIVE) and not is_long_enough(chunk(key_ms=1000), 4001, FILE)


def test_shown_pictures_do_not_go_where_hidden_ones_are() -> None:
    assert ends_at(chunk(hidden_ms=4500), key(), 4500, FILE) and not ends_at(chunk(hidden_ms=4500), key(), 4501, FILE)


def test_a_hidden_keyframe_ends_a_chunk_only_where_an_edit_begins() -> None:
    hidden = key()
    hidden.opaque = pictures._Mark(hidden=True)
    assert not ends_at(chunk(), hidden, 9000, FILE)
    hidden.opaque = pictures._Mark(hidden=True, begins=3)
    assert ends_at(chunk(), hidden, 4001, FILE)
