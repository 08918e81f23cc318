"""Live cells: frame rates, gaps, clocks, keyframes, audio, settings."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import inf, nan
from pathlib import Path
from typing import Any

from tests.matrix import cells_change
from tests.matrix.cell import SMALL_SIZES, Cell, Part
from tests.matrix.cells_change import NARROW, change, numbers
from tests.matrix.cells_time import JUMPED, MANY_BITS, NTSC, UNTOLD, back, flv, late_sound, shifted
from tests.matrix.flv import SCRIPT, Tag, pictures_from, read_tags, unannounced, write_tags
from tests.matrix.live import LiveCell
from tests.matrix.source import H264, Recipe
from tests.support.metadata import NAME, USUAL, ecma

F = Fraction
HALF = F(1, 2)


def live(name: str, recipe: Recipe, *, short: bool = False, **more: object) -> LiveCell:
    cell = Cell(f"live: {name}", "live", recipe, rate=recipe.rate, padding=UNTOLD)
    return LiveCell(replace(cell, **more), short=short)  # type: ignore[arg-type]


def reconnect(
    name: str, first: Recipe, second: Recipe, sizes: dict[str, tuple[int, int]], *, short: bool = False, **more: Any
) -> LiveCell:
    """A publisher that reconnects with different settings: one period for each connection."""
    second = replace(second, numbers_from=first.count)
    beeps = (*first.beeps, *(first.count + n for n in second.beeps))
    parts = (Part(numbers(first), first.rate), Part(numbers(second), second.rate, sizes))
    cell = Cell(f"live: {name}", "live", first, beeps=beeps, parts=parts, **more)
    return LiveCell(cell, (second,), short)


def within(name: str, first: Recipe, second: Recipe, sizes: dict[str, tuple[int, int]]) -> LiveCell:
    """The same change within one connection."""
    cell = change(f"live: {name}", first, second, sizes=sizes)
    return LiveCell(replace(cell, group="live", advice=cell.advice - {"rate-varies"}))


def untold(source: Path, target: Path) -> None:
    """Audio that is not announced before it begins."""
    write_tags(target, unannounced(read_tags(source)))


def saying(*bodies: bytes):
    """Replace the metadata by these script tags, and repeat them in the middle."""

    def rework(source: Path, target: Path) -> None:
        tags = [tag for tag in read_tags(source) if tag.kind != SCRIPT]
        middle = len(tags) // 2
        said = [Tag(SCRIPT, 0, body) for body in bodies]
        again = [replace(one, ms=tags[middle].ms) for one in said]
        write_tags(target, [*said, *tags[:middle], *again, *tags[middle:]])

    return rework


def pictureless(from_ms: int):
    """Drop the video before ``from_ms``."""

    def rework(source: Path, target: Path) -> None:
        write_tags(target, pictures_from(read_tags(source), from_ms))

    return rework


def pictures_late(name: str, from_ms: int) -> LiveCell:
    """Announced video that begins after the audio."""
    first = from_ms // 40
    recipe = flv(frames=250, rework=pictureless(from_ms))
    beeps = tuple(n for n in recipe.beeps if n >= first)
    parts = (Part(tuple(range(first, 250)), F(25), dict(SMALL_SIZES)),)
    return live(name, recipe, parts=parts, beeps=beeps, advice=frozenset({"sound-early"}))


def resting(count: int, for_s: Fraction) -> tuple[Fraction, ...]:
    """Presentation times of 160 frames with a pause of ``for_s`` after the first ``count``; the audio continues."""
    return tuple(F(n, 25) + (for_s if n >= count else 0) for n in range(160))


#: Metadata that contradicts the clip, and nonsensical metadata.
OTHERS = NAME + ecma(
    USUAL | {"width": 1920, "height": 1080, "framerate": 60, "videocodecid": 2, "audiosamplerate": 8000}
)
SENSELESS = NAME + ecma({"width": nan, "framerate": -inf, "videocodecid": "?", "audiocodecid": -1, "duration": inf}, 99)
FIRST = cells_change.FIRST
MUTE = replace(FIRST, sound=None)
#: Advice when no audio arrives for a while, and when it arrives later.
RARE = frozenset({"keyframes-rare"})
MISSING, LATE = frozenset({"sound-missing"}), frozenset({"sound-missing", "sound-late"})
LIVE = [
    live("29.97 fps", flv(rate=NTSC, frames=180)),
    live("30 fps", flv(rate=F(30), frames=180)),
    live("60 fps", flv(rate=F(60), frames=360)),
    live("gap of 3 s", flv(frames=200, gaps=((F(11, 5), F(26, 5)),)), short=True),
    live("camera stops before its sound", flv(frames=110, sound_until=F(16)), end=F(16), short=True),
    live("camera rests in mid-GOP", flv(times=resting(110, F(8)), frames=160), advice=RARE),
    live("camera rests before a keyframe", flv(times=resting(100, F(8)), frames=160), advice=RARE),
    live("gap of 0.2 s", flv(frames=150, gaps=((F(11, 5), F(12, 5)),))),
    live("starts at 123 s", flv(frames=150, rework=shifted(123_456)), short=True),
    live("jumps back to zero", flv(frames=150, rework=back()), advice=JUMPED),
    live("jumps back to zero in the middle of a GOP", flv(frames=150, rework=back(2420)), advice=JUMPED),
    live("past the wrap at 2^32 ms", flv(frames=150, rework=shifted(2**32 - 2700))),
    live("sound begins 0.5 s after the pictures", flv(frames=150, sound_from=HALF)),
    live("sound arrives 0.4 s late", flv(frames=150, rework=late_sound(400))),
    live("keyframes every 2 s", flv(frames=200, gop=50)),
    live("no keyframe but the first", flv(frames=600, gop=10_000), advice=frozenset({"keyframe-missing"})),
    live("keyframes every 8.3 s", flv(rate=F(30), frames=600, gop=249), advice=frozenset({"keyframes-rare"})),
    live(
        "B-frames, and far more bits than are needed",
        flv(frames=300, codec=(*H264, *MANY_BITS)),
        advice=frozenset({"b-frames-live", "bitrate-high"}),
    ),
    live("no sound at all", flv(frames=150, sound=None), sounds=True, advice=MISSING),
    live("sound begins in mid-stream", flv(frames=150, sound_from=F(5, 2))),
    live("sound begins unannounced", flv(frames=200, sound_from=F(9, 2), rework=untold), advice=LATE),
    live("no metadata", flv(frames=150, rework=saying())),
    live("metadata of another stream", flv(frames=150, rework=saying(OTHERS))),
    live("metadata without sense", flv(frames=75, rework=saying(SENSELESS)), short=True),
    pictures_late("pictures begin 4 s after the sound", 4000),
    reconnect(
        "comes back with another shape, rate and sound",
        FIRST,
        replace(FIRST, size=(192, 144), rate=F(30), frames=90, sample_rate=44100, channels=1),
        NARROW,
        short=True,
    ),
    reconnect("comes back with sound", MUTE, FIRST, dict(SMALL_SIZES), sounds=True),
    reconnect(
        "comes back with sound that begins unannounced",
        MUTE,
        flv(frames=125, sound_from=F(5, 2), rework=untold),
        dict(SMALL_SIZES),
        sounds=True,
        short=True,
    ),
    reconnect("comes back without sound", FIRST, MUTE, dict(SMALL_SIZES), sounds=True),
    reconnect("comes back with another rate", FIRST, replace(FIRST, rate=F(50), frames=150), dict(SMALL_SIZES)),
    within("another shape in one connection", FIRST, replace(FIRST, size=(192, 144)), NARROW),
    within("another rate in one connection", FIRST, replace(FIRST, rate=F(50), frames=150), dict(SMALL_SIZES)),
]
