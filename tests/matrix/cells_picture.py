"""Cells: frame sizes, aspect ratios, rotation, interlacing, bit depth, colour, video codecs."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from tests.matrix.cell import Cell
from tests.matrix.measure import Outcome
from tests.matrix.source import H264, Recipe

F = Fraction
FAST = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "23")
#: Frames for three chunks.
FEW = 60


def ladder(**rungs: int) -> str:
    """A ladder with rungs of these short sides in pixels."""
    described = [{"name": name, "short_side": side, "max_kbps": 1500} for name, side in rungs.items()]
    return json.dumps({"rungs": described, "audio_kbps": 128})


def size(width: int, height: int, expected: dict[str, tuple[int, int]], frames: int = FEW, **more: Any) -> Cell:
    recipe: dict[str, Any] = {"size": (width, height), "frames": frames, "codec": FAST, **more}
    name = more.pop("name", f"{width}x{height}")
    recipe.pop("name", None)
    return Cell(
        str(name),
        "size",
        Recipe(**recipe),
        rate=F(25),
        ladder=ladder(**{rung: min(wh) for rung, wh in expected.items()}),
        sizes=expected,
    )


def square(outcome: Outcome) -> list[str]:
    """Check that the video has square pixels."""
    found = []
    for name in outcome.cell.sizes:
        with av.open(str(_joined(outcome, name)), "r") as container:
            aspect = container.streams.video[0].sample_aspect_ratio
        if aspect not in (None, 1):
            found.append(f"{name}: pixels are {aspect} wide")
    return found


def _joined(outcome: Outcome, name: str) -> Path:
    path = outcome.root.parent / f"{name}.mp4"
    path.write_bytes(outcome.periods[0].renditions[name].data)
    return path


def turn(quarters: int):
    """A rework that sets a rotation in the track header's matrix (ISO/IEC 14496-12, 8.3.2)."""
    one = 1 << 16
    matrix = {1: (0, one, -one, 0), 2: (-one, 0, 0, -one), 3: (0, -one, one, 0)}[quarters]

    def rework(source: Path, target: Path) -> None:
        data = bytearray(source.read_bytes())
        at = data.index(b"tkhd") + 4 + 40  # the first track is the video; version 0
        values = (matrix[0], matrix[1], 0, matrix[2], matrix[3], 0, 0, 0, 1 << 30)
        data[at : at + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in values)
        target.write_bytes(data)

    return rework


def rotated(degrees: int, **more: Any) -> Cell:
    upright = degrees % 180 == 0
    shown = (256, 144) if upright else (144, 256)
    small = (128, 72) if upright else (72, 128)
    made = size(
        *shown,
        {"large": shown, "small": small},
        name=f"rotated by {degrees} degrees",
        turned=degrees // 90,
        rework=turn(degrees // 90),
    )
    return replace(made, **more)


SIZES = [
    size(1920, 1080, {"1080p": (1920, 1080), "360p": (640, 360)}, frames=50),
    size(1280, 720, {"720p": (1280, 720), "360p": (640, 360)}),
    size(1080, 1920, {"1080p": (1080, 1920), "360p": (360, 640)}, frames=50, name="1080x1920, portrait"),
    size(640, 360, {"360p": (640, 360), "180p": (320, 180)}),
    Cell(
        "720x576 with SAR 64:45",
        "size",
        Recipe(size=(720, 576), frames=FEW, codec=(*FAST, "-vf", "setsar=64/45")),
        rate=F(25),
        ladder=ladder(**{"576p": 576, "288p": 288}),
        sizes={"576p": (1024, 576), "288p": (512, 288)},
        looks=(square,),
    ),
    Cell(
        "1366x768",
        "size",
        Recipe(size=(1366, 768), frames=FEW, codec=FAST),
        rate=F(25),
        ladder=ladder(**{"768p": 768, "384p": 384}),
        sizes={"768p": (1366, 768), "384p": (682, 384)},
        looks=(square,),
    ),
    Cell(
        "853x479, odd",
        "size",
        Recipe(size=(853, 479), frames=FEW, codec=(*FAST, "-pix_fmt", "yuv444p")),
        rate=F(25),
        ladder=ladder(**{"478p": 478, "240p": 240}),
        sizes={"478p": (850, 478), "240p": (426, 240)},
        looks=(square,),
    ),
    size(3840, 2160, {"1080p": (1920, 1080), "360p": (640, 360)}, frames=30, name="3840x2160 down to 1080p"),
    Cell(
        "3840x2160 kept",
        "size",
        Recipe(size=(3840, 2160), frames=30, codec=FAST),
        rate=F(25),
        ladder=ladder(**{"2160p": 2160, "144p": 144}),
        sizes={"2160p": (3840, 2160), "144p": (256, 144)},
    ),
    Cell(
        "smaller than the ladder",
        "size",
        Recipe(size=(160, 90), codec=FAST),
        rate=F(25),
        ladder=None,
        sizes={"90p": (160, 90)},
    ),
    rotated(90, short=True),
    rotated(180),
    rotated(270),
]


def luma(frame: av.VideoFrame) -> NDArray[np.float64]:
    plane = np.frombuffer(bytes(frame.planes[0]), np.uint8).reshape(-1, frame.planes[0].line_size)
    return plane[: frame.height, : frame.width].astype(np.float64)


def combed(outcome: Outcome) -> list[str]:
    """Check for combing: differences between the fields where the image moves."""
    worst = 0.0
    for number, frame in enumerate(outcome.frames(next(iter(outcome.cell.sizes)))):
        if number:
            moving = luma(frame)[frame.height * 3 // 4 : frame.height - 4]
            comb = np.abs(moving[1:-1] - (moving[:-2] + moving[2:]) / 2).mean()
            smooth = np.abs(moving[2:] - moving[:-2]).mean() / 2
            worst = max(worst, float(comb / (smooth + 1)))
    return [f"fields stand out against each other ({worst:.1f})"] if worst > 1.5 else []


def interlaced(name: str, suffix: str, codec: tuple[str, ...]) -> Cell:
    recipe = Recipe(suffix, frames=100, size=(320, 240), interlaced=True, codec=codec)
    return Cell(
        name,
        "interlace",
        recipe,
        rate=F(25),
        ladder=ladder(large=240, small=120),
        sizes={"large": (320, 240), "small": (160, 120)},
        padding=2048,
        looks=(combed,),
    )


INTERLACED = [
    interlaced(
        "H.264, interlaced",
        "mp4",
        (
            "-c:v",
            "libx264",
            "-preset",
            "veryfast",
            "-crf",
            "18",
            "-flags",
            "+ildct+ilme",
            "-x264-params",
            "tff=1",
            "-field_order",
            "tt",
        ),
    ),
    interlaced(
        "MPEG-2, interlaced",
        "ts",
        ("-c:v", "mpeg2video", "-b:v", "3M", "-bf", "2", "-flags", "+ildct+ilme", "-top", "1"),
    ),
]


def tagged(primaries: str, transfer: str, matrix: str):
    """Check that every rendition signals these colours and limited range."""
    words = {"bt709": 1, "smpte170m": 6, "bt470bg": 5, "bt2020": 9, "unknown": 2}
    due = (words[primaries], words[transfer], words[matrix])

    def look(outcome: Outcome) -> list[str]:
        found = []
        for name in outcome.cell.sizes:
            with av.open(str(_joined(outcome, name)), "r") as container:
                context = container.streams.video[0].codec_context
                says = (context.color_primaries, context.color_trc, context.colorspace, context.color_range)
                encoded = name != "large" or not outcome.cell.passthrough
                if context.pix_fmt != "yuv420p" or (encoded and context.profile not in ("High", 100)):
                    found.append(f"{name} is {context.pix_fmt}, profile {context.profile}")
            if says[:3] != due or says[3] == 2:
                found.append(f"{name}: colours {says}, not {due} and limited (primaries, transfer, matrix, range)")
        return found

    return look


def levels(black: tuple[int, int], white: tuple[int, int]):
    """Check that black and white blocks are within these limits (8 bits)."""

    def look(outcome: Outcome) -> list[str]:
        frame = next(iter(outcome.frames(next(iter(outcome.cell.sizes)))))
        # All blocks of frame 0 are black; the middle third of a flash is white.
        dark = float(luma(frame)[frame.height // 12 : frame.height // 4].mean())
        bright = 0.0
        for frame in outcome.frames(next(iter(outcome.cell.sizes))):
            bright = max(bright, float(luma(frame)[frame.height * 5 // 12 : frame.height * 7 // 12].mean()))
        found = []
        if not black[0] <= dark <= black[1]:
            found.append(f"black is {dark:.0f}, not {black[0]} to {black[1]}")
        if not white[0] <= bright <= white[1]:
            found.append(f"white is {bright:.0f}, not {white[0]} to {white[1]}")
        return found

    return look


def colour(name: str, codec: tuple[str, ...], *looks: Any, suffix: str = "mp4", **more: Any) -> Cell:
    return Cell(name, "colour", Recipe(suffix, frames=FEW, codec=codec), rate=F(25), looks=looks, **more)


def tags(primaries: str, transfer: str, matrix: str) -> tuple[str, ...]:
    return ("-color_primaries", primaries, "-color_trc", transfer, "-colorspace", matrix)


BT709 = tagged("bt709", "bt709", "bt709")
#: Black and white of sources are 16 and 235; compression changes them slightly.
EXACT = levels((14, 18), (232, 237))
X265 = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error", "-tag:v", "hvc1")


def graded(matrix: str, transfer: str) -> tuple[str, ...]:
    """Frames in ten bits marked as HDR. Code 235 of 255 would be thousands of nits, so white is darker here."""
    return ("-vf", "format=yuv420p10le,lutyuv=y='if(gt(val,500),700,val)'", *X265, *tags("bt2020", transfer, matrix))


COLOURS = [
    colour("10-bit 4:2:0 H.264", (*H264, "-pix_fmt", "yuv420p10le"), EXACT),
    colour("8-bit 4:2:2 H.264", (*H264, "-pix_fmt", "yuv422p"), EXACT),
    colour("10-bit 4:2:2 HEVC", (*X265, "-pix_fmt", "yuv422p10le"), EXACT),
    colour("8-bit 4:4:4 H.264", (*H264, "-pix_fmt", "yuv444p"), EXACT),
    colour("RGB PNG in MOV", ("-c:v", "png", "-pix_fmt", "rgb24"), EXACT, suffix="mov"),
    colour("HDR PQ", graded("bt2020nc", "smpte2084"), BT709, levels((14, 40), (180, 245)), short=True),
    colour("HDR HLG", graded("bt2020nc", "arib-std-b67"), BT709, levels((14, 40), (180, 245))),
    colour(
        "full range",
        ("-vf", "scale=out_range=full,format=yuvj420p", *H264, "-color_range", "pc", *tags("bt709", "bt709", "bt709")),
        BT709,
        EXACT,
    ),
    colour("BT.709 tags", (*H264, *tags("bt709", "bt709", "bt709"), "-color_range", "tv"), BT709, EXACT),
    colour(
        "BT.601 tags, 625 lines",
        (*H264, *tags("bt470bg", "smpte170m", "smpte170m")),
        tagged("bt470bg", "smpte170m", "smpte170m"),
        EXACT,
    ),
    colour("no tags", H264, EXACT),
    colour("BT.2020 without HDR", (*X265, "-pix_fmt", "yuv420p10le", *tags("bt2020", "bt709", "bt2020nc")), EXACT),
]


def codec(name: str, suffix: str, *options: str, **more: Any) -> Cell:
    recipe: dict[str, Any] = {"frames": 100, "codec": options, **more}
    padding = 0 if suffix in ("mp4", "mov") else 2048
    return Cell(name, "codec", Recipe(suffix, **recipe), rate=F(25), padding=padding, silent=recipe["frames"] > 1)


CODECS = [
    codec("a single JPEG", "jpg", "-c:v", "mjpeg", "-q:v", "2", frames=1, sound=None, options=("-update", "1")),
    codec("H.264 Baseline", "mp4", "-c:v", "libx264", "-profile:v", "baseline", "-preset", "ultrafast"),
    codec("H.264 in slices and Annex B", "ts", "-c:v", "libx264", "-preset", "veryfast", "-x264-params", "slices=4"),
    codec("HEVC", "mp4", *X265),
    codec("HEVC in MPEG-TS", "ts", *X265),
    codec("AV1", "mp4", "-c:v", "libsvtav1", "-preset", "12", "-g", "25"),
    codec("AV1 in Matroska", "mkv", "-c:v", "libsvtav1", "-preset", "12", "-g", "25"),
    codec(
        "VP9 in WebM",
        "webm",
        "-c:v",
        "libvpx-vp9",
        "-deadline",
        "realtime",
        "-cpu-used",
        "8",
        "-b:v",
        "1M",
        sound=("-c:a", "libopus", "-b:a", "96k"),
    ),
    codec(
        "VP9 with alternate references",
        "webm",
        "-c:v",
        "libvpx-vp9",
        "-deadline",
        "good",
        "-cpu-used",
        "5",
        "-b:v",
        "1M",
        "-auto-alt-ref",
        "1",
        "-lag-in-frames",
        "16",
        sound=("-c:a", "libopus", "-b:a", "96k"),
    ),
    codec(
        "VP8",
        "webm",
        "-c:v",
        "libvpx",
        "-deadline",
        "realtime",
        "-cpu-used",
        "8",
        "-b:v",
        "1M",
        sound=("-c:a", "libvorbis", "-b:a", "96k"),
    ),
    codec("MPEG-2 in MPEG-TS", "ts", "-c:v", "mpeg2video", "-b:v", "2M", "-bf", "2"),
    codec("MPEG-2 in a program stream", "mpg", "-c:v", "mpeg2video", "-b:v", "2M", "-bf", "2", sound=("-c:a", "ac3")),
    codec("MPEG-4 part 2 in AVI", "avi", "-c:v", "mpeg4", "-b:v", "2M", sound=("-c:a", "pcm_s16le")),
    codec("ProRes", "mov", "-c:v", "prores_ks", "-profile:v", "1"),
    codec(
        "DNxHR", "mov", "-c:v", "dnxhd", "-profile:v", "dnxhr_sq", "-pix_fmt", "yuv422p", sound=("-c:a", "pcm_s24be")
    ),
    codec("packed RGB in AVI", "avi", "-c:v", "rawvideo", "-pix_fmt", "bgr24", sound=("-c:a", "pcm_s16le")),
    codec("MJPEG", "mov", "-c:v", "mjpeg", "-q:v", "3", "-pix_fmt", "yuvj420p"),
    codec("MJPEG in AVI", "avi", "-c:v", "mjpeg", "-q:v", "3", "-pix_fmt", "yuvj420p", sound=("-c:a", "pcm_s16le")),
    codec("FFV1 in Matroska", "mkv", "-c:v", "ffv1", sound=("-c:a", "flac")),
    codec("UtVideo in AVI", "avi", "-c:v", "utvideo", sound=("-c:a", "pcm_s16le")),
    codec("YUV4MPEG2", "y4m", "-c:v", "wrapped_avframe", sound=None),
    codec("fragmented MP4", "mp4", *H264, "-movflags", "+frag_keyframe+empty_moov+default_base_moof"),
]

CELLS = [*SIZES, *INTERLACED, *COLOURS, *CODECS]
