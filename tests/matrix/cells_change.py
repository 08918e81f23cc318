"""Cells: changes in mid-stream, damage, and nearly empty chunks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.matrix.cell import SMALL_SIZES, Cell, Part
from tests.matrix.flv import PICTURE, damaged, read_tags, write_tags
from tests.matrix.source import Recipe

F = Fraction
PLAIN = ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-crf", "20")
HEVC = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "bframes=0:log-level=0:scenecut=0")
MPEG2 = ("-c:v", "mpeg2video", "-b:v", "2M", "-bf", "0")
UNTOLD = 2048
FIRST = Recipe("flv", codec=PLAIN, frames=75)


def followed_by(*others: Recipe) -> Callable[[Path, Path], None]:
    """A rework that appends other sources to the file or connection, each at the end of the previous one."""

    def rework(source: Path, target: Path) -> None:
        tags = read_tags(source)
        with TemporaryDirectory(dir=target.parent) as folder:
            for other in others:
                more = read_tags(other.make(Path(folder) / "next"))
                last = max(tag.ms for tag in tags if tag.kind == PICTURE)
                begin = last + 40 - min(tag.ms for tag in more if tag.kind == PICTURE and not tag.header)
                tags += [replace(tag, ms=tag.ms + begin) for tag in more]
        write_tags(target, tags)

    return rework


def glued(*others: Recipe) -> Callable[[Path, Path], None]:
    """The same for MPEG-TS, which can simply be concatenated."""

    def rework(source: Path, target: Path) -> None:
        data = source.read_bytes()
        with TemporaryDirectory(dir=target.parent) as folder:
            for other in others:
                data += other.make(Path(folder) / "next").read_bytes()
        target.write_bytes(data)

    return rework


def numbers(recipe: Recipe) -> tuple[int, ...]:
    """All frame numbers of a source."""
    return tuple(range(recipe.numbers_from, recipe.numbers_from + recipe.count))


def change(
    name: str, first: Recipe, second: Recipe, *, sizes: dict[str, tuple[int, int]] | None = None, **more: Any
) -> Cell:
    """Two concatenated sources, each of which has to become a period."""
    second = replace(second, numbers_from=first.count)
    glue = glued(second) if first.suffix == "ts" else followed_by(second)
    recipe = replace(first, rework=glue, first=first.suffix)
    beeps = (*first.beeps, *(first.count + n for n in second.beeps))
    parts = (Part(numbers(first), first.rate, None), Part(numbers(second), second.rate, sizes))
    advice = frozenset({"size-changed"}) if first.size != second.size else frozenset({"rate-changed", "rate-varies"})
    return Cell(name, "change", recipe, beeps=beeps, parts=parts, **{"advice": advice, **more})


def unnoticed(name: str, first: Recipe, second: Recipe, **more: Any) -> Cell:
    """The same with a change that does not require a new period."""
    cell = change(name, first, second)
    times = (*first.shown_at, *(first.end + time for time in second.shown_at))
    return replace(cell, parts=None, advice=frozenset(), times=times, end=first.end + second.end, rate=first.rate,
                   sound_end=first.end + second.end, padding=2 * UNTOLD, **more)  # fmt: skip


TALL = {"large": (108, 192), "small": (72, 128)}
NARROW = {"large": (144, 108), "small": (96, 72)}


def ts(**more: Any) -> Recipe:
    seconds, pids = more.pop("begins", 10), more.pop("pids", ())
    return Recipe(
        "ts",
        frames=75,
        options=("-output_ts_offset", str(seconds), "-muxdelay", "0", "-muxpreload", "0", *pids),
        **{"codec": PLAIN, **more},
    )


CHANGES = [
    change("other size", FIRST, replace(FIRST, size=(320, 180)), sizes=dict(SMALL_SIZES)),
    change("other shape", FIRST, replace(FIRST, size=(192, 144)), sizes=NARROW),
    change("from landscape to portrait", FIRST, replace(FIRST, size=(144, 256)), sizes=TALL),
    change("smaller than the ladder's top", FIRST, replace(FIRST, size=(128, 72)), sizes={"small": (128, 72)}),
    change("from 25 to 50 pictures a second", FIRST, replace(FIRST, rate=F(50), frames=150)),
    change("other size in MPEG-TS", ts(), ts(begins=13, size=(192, 144)), sizes=NARROW),
    unnoticed("other PIDs in MPEG-TS", ts(), ts(begins=13, pids=("-mpegts_start_pid", "600"))),
    unnoticed("other PIDs, of the map too, in MPEG-TS", ts(),
              ts(begins=13, pids=("-mpegts_start_pid", "600", "-mpegts_pmt_start_pid", "5000"))),
    unnoticed("another program in MPEG-TS", ts(),
              ts(begins=13, pids=("-mpegts_start_pid", "600", "-mpegts_service_id", "7"))),
    change("from H.264 to HEVC in MPEG-TS", ts(), ts(begins=13, codec=HEVC), advice=frozenset()),
    change("from MPEG-2 to H.264 in MPEG-TS", ts(codec=MPEG2), ts(begins=13), advice=frozenset()),
    unnoticed("sound from AAC to AC-3 in MPEG-TS", ts(), ts(begins=13, sound=("-c:a", "ac3"))),
    unnoticed("sound from MP2 to AAC in MPEG-TS", ts(sound=("-c:a", "mp2")), ts(begins=13)),
    unnoticed("sound from 48 to 44.1 kHz", FIRST, replace(FIRST, sample_rate=44100)),
    unnoticed("sound from stereo to mono", FIRST, replace(FIRST, channels=1)),
    unnoticed("sound from AAC to MP3", replace(FIRST, sample_rate=44100),
              replace(FIRST, sample_rate=44100, sound=("-c:a", "libmp3lame"))),
    unnoticed("same settings, a new encoder", FIRST, replace(FIRST, codec=(*PLAIN, "-x264-params", "ref=2:cabac=0"))),
]  # fmt: skip


def cut(share: float) -> Callable[[Path, Path], None]:
    """A rework that truncates a file to this share."""

    def rework(source: Path, target: Path) -> None:
        data = source.read_bytes()
        target.write_bytes(data[: int(len(data) * share)])

    return rework


def broken(name: str, hidden: range, rework: Callable[[Path, Path], None] | None, **more: Any) -> Cell:
    """A damaged source: the frames ``hidden`` may be missing, and all others have to be at their places."""
    details = {"suffix": "flv", **more.pop("recipe", {})}
    recipe = Recipe(codec=PLAIN, rework=rework, first=details["suffix"], **details)
    return Cell(
        name, "damage", recipe, rate=F(25), hidden=frozenset(hidden), **{"padding": UNTOLD, "filled": None, **more}
    )


def emptied(number: int) -> Callable[[Path, Path], None]:
    """A rework that drops all frames of the GOP that begins at frame ``number``, and empties its keyframe's packet."""

    def rework(source: Path, target: Path) -> None:
        place, found = 0, []
        for tag in read_tags(source):
            if tag.kind == PICTURE and not tag.header:
                if place == number:
                    # An SEI NAL unit, which is not a picture (ITU-T H.264, 7.3.2.3).
                    tag = replace(tag, body=tag.body[:5] + b"\0\0\0\x04\x06\x05\x01\x80")
                place += 1
                if number < place - 1 < number + 25:
                    continue
            found.append(tag)
        write_tags(target, found)

    return rework


#: A source that begins with noise: the stream begins with the first frame that can be decoded.
LATER = tuple(range(25, 125))

DAMAGE = [
    broken("truncated last chunk (FLV)", range(110, 125), cut(0.97), tail=15),
    broken("truncated last chunk (MPEG-TS)", range(110, 125), cut(0.97), tail=15, recipe={"suffix": "ts"}),
    broken("truncated last chunk (Matroska)", range(110, 125), cut(0.97), tail=15, recipe={"suffix": "mkv"}),
    broken("noise instead of a chunk", range(50, 75), damaged(50, 75), damaged=1),
    broken("noise instead of a keyframe", range(50, 75), damaged(50, 51), damaged=1),
    broken("noise instead of some pictures", range(60, 75), damaged(60, 64), damaged=1),
    broken(
        "noise instead of the first chunk",
        range(25),
        damaged(0, 25),
        parts=(Part(LATER, F(25)),),
        beeps=(28, 53, 78, 103),
        advice=frozenset({"sound-early"}),
    ),
    broken("noise instead of the last chunk", range(100, 125), damaged(100, 125), damaged=1),
    broken("a chunk without a picture", range(50, 75), emptied(50), damaged=1),
    broken("a last chunk of one picture", range(0), None, recipe={"frames": 126}, filled=0),
    broken("one picture in all", range(0), None, recipe={"frames": 1, "sound": None}, filled=0, silent=False),
    broken(
        "one picture in all, with sound",
        range(0),
        None,
        recipe={"frames": 1, "sound_until": F(2)},
        end=F(2),
        silent=False,
    ),
]

CELLS = [*CHANGES, *DAMAGE]
