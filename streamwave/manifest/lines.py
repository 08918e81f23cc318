"""The lines of a ledger: their kinds, and how they are read back from a store.

A line is a JSON object with a ``type``: ``broadcast`` (first), ``state`` (see ``rolling``),
``info``, ``period``, ``chunk``, ``end``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError

from streamwave.errors import DamagedError
from streamwave.layout import ledger_name
from streamwave.manifest.packaged import PackagedChunk, PackagedTrack
from streamwave.manifest.rolling import StateLine
from streamwave.model import Frozen, Rational, Rendition
from streamwave.storage.store import Store


class BroadcastLine(Frozen):
    """The first line. A rerun of the same job has the same ``fingerprint``."""

    type: Literal["broadcast"] = "broadcast"
    created_unix_ms: int
    segment_ms: int = Field(gt=0)
    fingerprint: str
    dvr_window_ms: int | None = None
    keep: bool = True  # False: segments that leave the DVR window are deleted, and dropped from the ledger
    info: dict[str, str] = Field(default_factory=dict)


class InfoLine(Frozen):
    """Replaces what is known of the broadcast. Publishers send metadata at any time, and any number of times."""

    type: Literal["info"] = "info"
    info: dict[str, str]


class TrackLine(Frozen):
    """One rendition of a period."""

    rendition: Rendition
    timescale: int = Field(gt=0)
    codecs: str
    init_sha256: str
    init_size: int
    frame_rate: Rational | None

    @classmethod
    def of(cls, track: PackagedTrack) -> Self:
        """The line that records ``track``."""
        return cls(
            rendition=track.rendition, timescale=track.timescale, codecs=track.codecs,
            init_sha256=track.init_sha256, init_size=track.init_size, frame_rate=track.frame_rate,
        )  # fmt: skip


class PeriodLine(Frozen):
    """A period begins. It holds the chunks of ``session`` from ``first_chunk`` on."""

    type: Literal["period"] = "period"
    name: str
    session: str
    first_chunk: int
    start: Rational
    wall_unix_ms: int | None
    tracks: tuple[TrackLine, ...]


class ChunkLine(Frozen):
    """A chunk is published: for each rendition its segments as (time, duration, size), in ticks and bytes.

    ``digests`` holds the segments' digests (see ``digest``); earlier versions wrote none.
    """

    type: Literal["chunk"] = "chunk"
    number: int
    segments: dict[str, tuple[tuple[int, int, int], ...]]
    filled: tuple[str, ...] = ()  # renditions that show black or silence, because the chunk could not be decoded
    damaged: bool = False  # some pictures could not be decoded; the picture before them is repeated
    digests: dict[str, tuple[str, ...]] = Field(default_factory=dict, exclude_if=lambda digests: not digests)
    captions: bool = Field(default=False, exclude_if=lambda captions: not captions)

    @classmethod
    def of(cls, chunk: PackagedChunk) -> Self:
        """The line that records ``chunk``."""
        digests = {t.rendition.name: tuple(s.digest for s in t.segments) for t in chunk.tracks}
        return cls(
            number=chunk.number,
            segments={t.rendition.name: tuple((s.time, s.duration, s.size) for s in t.segments) for t in chunk.tracks},
            filled=chunk.filled,
            damaged=chunk.damaged,
            captions=any(track.captions for track in chunk.tracks),
            digests={name: found for name, found in digests.items() if all(found)},
        )


class EndLine(Frozen):
    """The broadcast is complete."""

    type: Literal["end"] = "end"


AnyLine = BroadcastLine | StateLine | InfoLine | PeriodLine | ChunkLine | EndLine
Line = Annotated[AnyLine, Field(discriminator="type")]
_line: TypeAdapter[AnyLine] = TypeAdapter(Line)


def read_lines(store: Store) -> Iterator[tuple[int, str, AnyLine]]:
    """Every line of the ledger at ``store`` as (part, text, line); nothing if there is no ledger.

    Raises:
        OutputError: the ledger is damaged.
    """
    part = 0
    while (data := store.get(ledger_name(part))) is not None:
        following = part + 1
        for text in texts_of(data):
            line = parse_line(text, store)
            yield part, text, line
            if isinstance(line, StateLine):
                if line.part <= part:  # following it would never end
                    raise damaged(store)
                following = line.part
        part = following


def texts_of(data: bytes) -> list[str]:
    """The lines of a stored part, not parsed."""
    return data.decode("utf-8", "replace").splitlines()


def parse_line(text: str, store: Store) -> AnyLine:
    """Parse a line of the ledger at ``store``; raises DamagedError if it is not one."""
    try:
        return _line.validate_json(text)
    except ValidationError:
        raise damaged(store) from None


def damaged(store: Store) -> DamagedError:
    """The error for a ledger at ``store`` that cannot be read."""
    return DamagedError(
        f"the ledger of {store.url} is damaged; if another output has the recording, remove only its folder ledger there "
        "and run streamwave broadcasts catch-up, else remove the broadcast"
    )
