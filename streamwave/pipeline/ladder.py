"""The ladder: which renditions a source is transcoded into.

A rung is a 16:9 box (9:16 for portrait video) whose short side is that of the rung. The frame is scaled to fit into it, with
its aspect ratio kept. Rungs that would enlarge the frame are left out.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from streamwave.errors import LadderError
from streamwave.model import Frozen, Rendition, SourceInfo, VideoInfo
from streamwave.timing import round_half_up
from streamwave.untrusted import parse_json

AUDIO_NAME = "audio"


class Rung(Frozen):
    """One video rung: ``short_side`` in pixels, ``max_kbps`` in 1000 bits per second."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")
    short_side: int = Field(ge=16, le=4320)
    max_kbps: int = Field(ge=16, le=200_000)


class Ladder(Frozen):
    """All rungs and the bit rate of the audio rendition."""

    rungs: tuple[Rung, ...] = Field(min_length=1)
    audio_kbps: int = Field(default=128, ge=16, le=512)


DEFAULT_LADDER = Ladder(
    rungs=(
        Rung(name="1080p", short_side=1080, max_kbps=5000),
        Rung(name="720p", short_side=720, max_kbps=2800),
        Rung(name="480p", short_side=480, max_kbps=1400),
        Rung(name="360p", short_side=360, max_kbps=800),
    )
)


def load_ladder(spec: str | None) -> Ladder:
    """Load a ladder from ``spec``: nothing (the default ladder), names of rungs, inline JSON, or a TOML or JSON file.

    Raises:
        LadderError: ``spec`` is invalid; the message shows an example.
    """
    spec = (spec or "").strip()
    if not spec:
        return DEFAULT_LADDER
    if spec.startswith("{"):
        return _parse(_json(spec, "the inline ladder"), "the inline ladder")
    if spec.endswith((".toml", ".json")) or "/" in spec:
        try:
            text = Path(spec).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise LadderError(f"the ladder file {spec} cannot be read ({reason}); check the path") from None
        if spec.endswith(".toml"):
            try:
                return _parse(tomllib.loads(text), spec)
            except (ValueError, RecursionError) as error:
                raise LadderError(f"the ladder file {spec} is not TOML ({error})") from None
        return _parse(_json(text, spec), spec)
    return select(DEFAULT_LADDER, spec)


def _json(text: str, where: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise LadderError(f"{where} is not JSON ({error})") from None


def _parse(data: Any, where: str) -> Ladder:
    try:
        ladder = Ladder.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        what = f"{place}: {first['msg']}" if place else first["msg"]
        example = '{"rungs": [{"name": "720p", "short_side": 720, "max_kbps": 2800}], "audio_kbps": 128}'
        raise LadderError(f"{where}: {what}; a ladder looks like {example}") from None
    names = [rung.name for rung in ladder.rungs]
    if len(set(names)) != len(names) or AUDIO_NAME in names:
        raise LadderError(f"{where}: names of rungs must be unique, and none may be {AUDIO_NAME!r}")
    return ladder


def select(ladder: Ladder, names: str) -> Ladder:
    """Narrow ``ladder`` to the comma-separated ``names``; the audio rendition is kept.

    Raises:
        LadderError: a name is not in the ladder.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    known = {rung.name: rung for rung in ladder.rungs}
    unknown = [name for name in wanted if name not in known]
    if not wanted:
        raise LadderError(f"the ladder names no rendition; choose from {', '.join(known)}, or leave it out")
    if unknown:
        bad = ", ".join(map(repr, unknown))
        raise LadderError(f"the ladder has no rendition {bad}; choose from {', '.join(known)}")
    return Ladder(rungs=tuple(known[name] for name in known if name in wanted), audio_kbps=ladder.audio_kbps)


def display_size(video: VideoInfo) -> tuple[int, int]:
    """Width and height in square pixels as displayed, after applying sample aspect ratio and rotation."""
    width, height = round_half_up(video.width * video.sample_aspect), video.height
    return (height, width) if video.rotation % 180 == 90 else (width, height)


def _even(value: Fraction) -> int:
    return max(2, 2 * round_half_up(value / 2))


def plan(source: SourceInfo, ladder: Ladder, *, sound: bool | None = None) -> tuple[Rendition, ...]:
    """The renditions for ``source``: video from the largest to the smallest, then audio.

    ``sound``: whether the session has audio, possibly silence; None: whether the source has.

    Raises:
        LadderError: every rung of a ladder narrowed by the user is larger than the source.
    """
    renditions: list[Rendition] = []
    if source.video is not None:
        renditions.extend(_video(display_size(source.video), ladder))
    if source.audio is not None if sound is None else sound:
        renditions.append(Rendition(name=AUDIO_NAME, kind="audio", max_bps=ladder.audio_kbps * 1000))
    return tuple(renditions)


def _video(size: tuple[int, int], ladder: Ladder) -> Sequence[Rendition]:
    width, height = size
    short, long = min(size), max(size)
    found = []
    for rung in sorted(ladder.rungs, key=lambda rung: -rung.short_side):
        scale = min(Fraction(rung.short_side, short), Fraction(rung.short_side * 16, long * 9))
        if scale <= 1:
            found.append(
                Rendition(
                    name=rung.name,
                    kind="video",
                    width=_even(width * scale),
                    height=_even(height * scale),
                    max_bps=rung.max_kbps * 1000,
                )
            )
    if found:
        return found
    lowest = min(ladder.rungs, key=lambda rung: rung.short_side)
    if lowest.short_side > min(rung.short_side for rung in DEFAULT_LADDER.rungs):
        raise LadderError(
            f"the source has {width}x{height} pixels, less than the smallest requested rung ({lowest.name}); "
            "add a smaller rung, because video is never enlarged"
        )
    # A source below the whole ladder keeps its own size, with a bit rate in proportion to its pixels.
    share = Fraction(width * height, lowest.short_side * lowest.short_side * 16 // 9)
    name = f"{short}p" if short != lowest.short_side else lowest.name
    bps = max(100_000, round_half_up(lowest.max_kbps * 1000 * min(share, Fraction(1))))
    return [
        Rendition(name=name, kind="video", width=_even(Fraction(width)), height=_even(Fraction(height)), max_bps=bps)
    ]


def choose(configured: str | None, wanted: str | None) -> Ladder:
    """The ladder of the settings (``configured``), narrowed to the rungs ``wanted``, or replaced if ``wanted`` is a ladder.

    Raises:
        LadderError: see ``load_ladder`` and ``select``.
    """
    if wanted and ("{" in wanted or "/" in wanted or wanted.endswith((".toml", ".json"))):
        return load_ladder(wanted)
    try:
        ladder = load_ladder(configured)
    except LadderError as error:
        raise LadderError(f"STREAMWAVE_LADDER: {error}") from None
    return select(ladder, wanted) if wanted is not None else ladder
