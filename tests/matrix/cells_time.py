"""Cells: frame rates, variable rates, gaps, timestamps, keyframes."""

from __future__ import annotations

import struct
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import Any

from tests.matrix.cell import SMALL_LADDER, Cell, Part
from tests.matrix.flv import SOUND, read_tags, retimed, write_tags
from tests.matrix.source import H264, Recipe
from tests.support.media import ffmpeg

F = Fraction
NTSC = F(30000, 1001)
PLAIN = ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-crf", "20")
#: RTMP and FLV cannot signal that the last AAC frame is padded, nor that the first is priming.
UNTOLD = 2048


def rate(fraction: Fraction, frames: int, **more: Any) -> Cell:
    name = f"{float(fraction):.5g} fps"
    return Cell(name, "rate", Recipe(rate=fraction, frames=frames), rate=fraction, **more)


def slow(name: str, fraction: Fraction, frames: int, *advice: str) -> Cell:
    """Such a low frame rate that the reordering delay of B-frames is seconds long."""
    recipe = Recipe(rate=fraction, frames=frames, gop=8)
    return Cell(name, "rate", recipe, rate=fraction, segment_s=4, advice=frozenset(advice))


def flv(**more: Any) -> Recipe:
    return Recipe(suffix="flv", **{"codec": PLAIN, "first": "flv", **more})


RATES = [
    slow("2 fps", F(2), 20),
    slow("1 fps", F(1), 20, "keyframes-rare"),
    slow("1/2 fps", F(1, 2), 10, "keyframes-rare", "keyframe-missing"),
    rate(F(10), 50),
    rate(F(25, 2), 62),
    rate(F(24000, 1001), 120),
    rate(F(24), 120),
    rate(F(25), 125),
    rate(NTSC, 150, short=True),
    rate(F(30), 150),
    rate(F(50), 250),
    rate(F(60000, 1001), 300),
    rate(F(60), 300),
    rate(F(120), 480),
    Cell("29.97 fps in FLV's milliseconds", "rate", flv(rate=NTSC, frames=150), rate=NTSC, padding=UNTOLD),
    Cell("59.94 fps in MPEG-TS", "rate", Recipe("ts", F(60000, 1001), 240), rate=F(60000, 1001), padding=UNTOLD),
    Cell("24 fps in WebM's milliseconds", "rate", Recipe("mkv", F(24), 120), rate=F(24), padding=UNTOLD),
]


def states_thirty(source: Path, target: Path) -> None:
    """A rework whose metadata states 30 fps."""
    data = source.read_bytes()
    at = data.index(b"framerate\x00") + len(b"framerate\x00")
    target.write_bytes(data[:at] + struct.pack(">d", 30) + data[at + 8 :])


def screen() -> tuple[Fraction, ...]:
    """A screen capture: bursts at 60 fps, a slow part at 1 fps, and five seconds without a frame."""
    steps = [F(1, 60)] * 60 + [F(1)] * 2 + [F(1, 30)] * 40 + [F(5)] + [F(1, 60)] * 60 + [F(1, 20), F(1, 45)] * 12
    return tuple(accumulate(steps[:-1], initial=F(0)))


def jitter() -> tuple[Fraction, ...]:
    """A phone: 30 fps on average, each frame up to a quarter of a frame early or late."""
    return tuple(F(n, 30) + F((n * 7 % 11) - 5, 660) * (n > 0) for n in range(150))


VARIABLE = [
    Cell("wrong stated rate", "variable", flv(rework=states_thirty), rate=F(25), padding=UNTOLD),
    Cell(
        "screen capture, 1 to 60 fps, frozen for 5 s",
        "variable",
        Recipe("mkv", F(60), times=screen(), codec=PLAIN),
        rate=F(60),
        padding=UNTOLD,
        advice=frozenset({"keyframes-rare", "rate-varies"}),
    ),
    Cell("phone, 30 fps on average", "variable", Recipe("mp4", F(30), times=jitter(), gop=30), rate=F(30)),
    Cell(
        "gap of 0.2 s", "variable", Recipe("flv", codec=PLAIN, gaps=((F(11, 5), F(12, 5)),)), rate=F(25), padding=UNTOLD
    ),
    Cell(
        "gap of 3 s",
        "variable",
        Recipe("flv", codec=PLAIN, frames=175, gaps=((F(11, 5), F(26, 5)),)),
        rate=F(25),
        padding=UNTOLD,
    ),
    Cell(
        "gap of 3 s before a keyframe",
        "variable",
        Recipe("mp4", frames=175, codec=PLAIN, gaps=((F(2), F(5)),)),
        rate=F(25),
    ),
]


def offset(name: str, seconds: float, suffix: str = "ts", **more: Any) -> Cell:
    options = ("-output_ts_offset", str(seconds), "-muxdelay", "0", "-muxpreload", "0")
    padding = UNTOLD if suffix != "mp4" else 0
    return Cell(name, "timestamps", Recipe(suffix, options=options), rate=F(25), padding=padding, **more)


def shifted(by_ms: int, wrap_ms: int = 2**32):
    return retimed(lambda tag: 0 if tag.header else (tag.ms + by_ms) % wrap_ms)


def jump(by_ms: int, at_ms: int = 2000):
    return retimed(lambda tag: tag.ms + by_ms if tag.ms >= at_ms else tag.ms)


def back(at_ms: int = 2000):
    return retimed(lambda tag: tag.ms - at_ms if tag.ms >= at_ms else tag.ms)


def late_sound(by_ms: int):
    """Audio that arrives later than the corresponding video."""

    def rework(source: Path, target: Path) -> None:
        tags = read_tags(source)
        write_tags(target, sorted(tags, key=lambda tag: 0 if tag.header else tag.ms + by_ms * (tag.kind == SOUND)))

    return rework


def stamped(name: str, recipe: Recipe, **more: Any) -> Cell:
    return Cell(name, "timestamps", recipe, **{"rate": F(25), "padding": UNTOLD, **more})


def cut_out(source: Path, target: Path) -> None:
    """Skip the first 1.32 s with an edit list; the file still contains them, because other frames refer to them."""
    ffmpeg("-ss", "1.32", "-i", str(source), "-c", "copy", str(target))


def in_fragments(source: Path, target: Path) -> None:
    """Fragments as FFmpeg writes them: the first frame is longer by the audio's priming."""
    ffmpeg("-i", str(source), "-c", "copy", "-movflags", "frag_keyframe+empty_moov", str(target))


HALF = F(1, 2)
JUMPED = frozenset({"clock-jumped"})
STAMPS = [
    offset("starts at 100 s (MPEG-TS)", 100),
    offset("starts at 1000 s (MP4)", 1000, "mp4"),
    stamped("starts at 123 s (FLV)", flv(rework=shifted(123_456)), short=True),
    offset("starts at -1.5 s (NUT)", -1.5, "nut"),
    offset("past the 26.5 h wrap of MPEG-TS", 2**33 / 90000 - 2.7),
    stamped("past 2^31 ms (FLV)", flv(rework=shifted(2**31 - 2700))),
    stamped("wraps at 2^31 ms, as FFmpeg sends it", flv(rework=shifted(2**31 - 2700, 2**31))),
    stamped("wraps at 2^32 ms (FLV)", flv(rework=shifted(2**32 - 2700))),
    stamped("jumps ahead by an hour", flv(rework=jump(3_600_000)), advice=JUMPED),
    stamped("jumps ahead by an hour in the middle of a GOP", flv(rework=jump(3_600_000, 2420)), advice=JUMPED),
    stamped("jumps back to zero", flv(rework=back()), advice=JUMPED, short=True),
    stamped("jumps back to zero in the middle of a GOP", flv(rework=back(2420)), advice=JUMPED),
    stamped("sound begins 0.5 s after the pictures", Recipe(sound_from=HALF), padding=0, short=True),
    stamped("sound begins 0.5 s before the pictures", Recipe("mkv", sound_from=-HALF)),
    stamped(
        "cut out by an edit list",
        Recipe(codec=PLAIN, gop=50, frames=100, rework=cut_out),
        parts=(Part(tuple(range(33, 100))),),
        beeps=(53, 78),
    ),
    stamped("fragments", Recipe(codec=PLAIN, rework=in_fragments)),
    stamped("sound begins 2 s before the pictures", Recipe("mkv", sound_from=F(-2)), advice=frozenset({"sound-early"})),
    stamped("sound arrives 0.4 s late", flv(rework=late_sound(400))),
    stamped("sound arrives 1.2 s late", flv(rework=late_sound(1200))),
    stamped("sound arrives 1.2 s early", flv(rework=late_sound(-1200))),
]


def keys(name: str, **more: Any) -> Cell:
    advice = more.pop("advice", frozenset())
    recipe: dict[str, Any] = {"frames": 200, **more}
    made = Recipe(**recipe)
    return Cell(name, "keyframes", made, rate=made.rate, segment_s=2, advice=advice)


def x264(*options: str) -> tuple[str, ...]:
    return (*H264, *options)


KEYFRAMES = [
    keys("every 0.5 s", gop=12),
    keys("every 1 s", gop=25),
    keys("every 2 s", gop=50),
    keys("every 4 s", gop=100),
    keys("every 8.3 s", gop=249, frames=300, rate=F(30), advice=frozenset({"keyframes-rare"})),
    keys(
        "irregular",
        gop=1000,
        codec=x264("-force_key_frames", "expr:eq(n,0)+eq(n,7)+eq(n,61)+eq(n,68)+eq(n,149)+eq(n,150)"),
    ),
    keys("only the first", gop=1000),
    keys(
        "open GOP with leading pictures",
        gop=25,
        codec=("-c:v", "libx264", "-preset", "veryfast", "-bf", "3", "-flags", "-cgop", "-x264-params", "open-gop=1"),
    ),
    keys(
        "B-frames with pyramid",
        gop=50,
        codec=("-c:v", "libx264", "-preset", "veryfast", "-x264-params", "bframes=7:b-adapt=0:b-pyramid=normal"),
    ),
    keys("intra-only", gop=1),
    keys(
        "intra refresh, one keyframe",
        gop=50,
        codec=("-c:v", "libx264", "-preset", "veryfast", "-x264-params", "intra-refresh=1:bframes=0"),
    ),
    keys(
        "HEVC, open GOP with leading pictures",
        gop=25,
        codec=(
            "-c:v",
            "libx265",
            "-preset",
            "ultrafast",
            "-x265-params",
            "log-level=error:open-gop=1:bframes=3:keyint=25:min-keyint=25:scenecut=0",
        ),
    ),
    keys("MPEG-2, open GOP", gop=12, suffix="ts", codec=("-c:v", "mpeg2video", "-b:v", "1M", "-bf", "2")),
]

#: Noise, encoded with little loss.
MANY_BITS = ("-vf", "noise=alls=6:allf=t", "-qp", "10")
BIT_RATES = [
    Cell(
        "far more bits than the ladder's top",
        "bit rate",
        flv(codec=(*PLAIN, *MANY_BITS)),
        rate=F(25),
        padding=UNTOLD,
        advice=frozenset({"bitrate-high"}),
    ),
    Cell(
        "far fewer bits than the ladder's top",
        "bit rate",
        flv(),
        rate=F(25),
        padding=UNTOLD,
        ladder=SMALL_LADDER.replace("400", "9000"),
        advice=frozenset({"bitrate-low"}),
    ),
]

CELLS = [*RATES, *VARIABLE, *STAMPS, *KEYFRAMES, *BIT_RATES]
