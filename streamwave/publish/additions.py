"""What a chunk adds to a broadcast, and where it belongs: pure functions of the ledger and the chunk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from streamwave.errors import MediaError
from streamwave.layout import init_name, segment_name
from streamwave.manifest.ledger import Ledger
from streamwave.manifest.lines import ChunkLine, PeriodLine, TrackLine
from streamwave.manifest.packaged import PackagedChunk


@dataclass(frozen=True)
class Addition:
    """Objects as (name, function that reads the bytes), and the ledger's ``lines`` that refer to them."""

    objects: tuple[tuple[str, Callable[[], bytes]], ...]
    lines: tuple[PeriodLine | ChunkLine, ...]


def next_chunk(ledger: Ledger, session: str) -> int | None:
    """Number of the first chunk of ``session`` that is still to be published; None if the session is complete."""
    sessions = [period.session for period in ledger.periods]
    if session not in sessions:
        return 0
    return ledger.next_chunk if sessions[-1] == session else None


def place(ledger: Ledger, session: str, number: int) -> Literal["published", "next", "later"]:
    """Where a chunk belongs in relation to what is published. Any chunk may be the first one of a new session."""
    following = next_chunk(ledger, session)
    if following is None or number < following:
        return "published"
    known = any(period.session == session for period in ledger.periods)
    return "next" if number == following or not known else "later"


def addition_of(
    ledger: Ledger, chunk: PackagedChunk, session: str, period: str, wall_unix_ms: int | None
) -> Addition | None:
    """What ``chunk`` adds; None if it is the chunk that was published last.

    The first chunk of a session opens a period called ``period``, which begins at ``wall_unix_ms`` (None for a file).

    Raises:
        MediaError: the chunk does not continue what is published, or its init segments differ from those of its period.
    """
    last = ledger.periods[-1] if ledger.periods else None
    tracks = tuple(map(TrackLine.of, chunk.tracks))
    if last is None or last.session != session:
        if any(one.session == session for one in ledger.periods):
            raise MediaError(f"session {session} cannot be continued, because a later one has begun")
        opening = PeriodLine(
            name=period, session=session, first_chunk=chunk.number, start=_start(ledger, wall_unix_ms),
            wall_unix_ms=wall_unix_ms, tracks=tracks,
        )  # fmt: skip
        return Addition(_objects(chunk, period, with_init=True), (opening, ChunkLine.of(chunk)))
    if chunk.number == ledger.next_chunk - 1:
        return None
    if chunk.number != ledger.next_chunk:
        raise MediaError(f"chunk {chunk.number} cannot be published yet: chunk {ledger.next_chunk} is the next one")
    if tracks != last.tracks:
        raise MediaError(f"chunk {chunk.number} was encoded with other settings than the chunks before it")
    return Addition(_objects(chunk, last.name, with_init=False), (ChunkLine.of(chunk),))


def _objects(chunk: PackagedChunk, period: str, *, with_init: bool) -> tuple[tuple[str, Callable[[], bytes]], ...]:
    objects: list[tuple[str, Callable[[], bytes]]] = []
    for track in chunk.tracks:
        name = track.rendition.name
        if with_init:
            objects.append((init_name(period, name), Path(track.init_path).read_bytes))
        objects.extend((segment_name(period, name, s.time), Path(s.path).read_bytes) for s in track.segments)
    return tuple(objects)


def _start(ledger: Ledger, wall_unix_ms: int | None) -> Fraction:
    """Where a new period begins, in seconds: in a live broadcast by the wall clock, from which players derive the live edge.

    When the broadcast ends, the ledger removes the pauses between periods.
    """
    assert ledger.timeline is not None
    end = ledger.timeline.duration
    if wall_unix_ms is None:
        return end
    return max(end, Fraction(wall_unix_ms - ledger.timeline.created_unix_ms, 1000))
