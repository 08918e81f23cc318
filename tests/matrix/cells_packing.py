"""Cells: unusual packetization, such as several frames in a packet, packets without timestamps, or jittery timestamps."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from tests.matrix.cell import Cell
from tests.matrix.cells_time import PLAIN, UNTOLD, flv
from tests.matrix.flv import PICTURE, SOUND, Tag, read_tags, write_tags
from tests.matrix.paff import in_fields
from tests.matrix.source import Recipe
from tests.support.media import ffmpeg

F = Fraction
PCM = ("-c:a", "pcm_s16le")
FLAC = ("-c:a", "flac")
MPEG4 = ("-c:v", "mpeg4", "-b:v", "2M", "-bf", "2")
REORDERED = ("-c:v", "libx264", "-preset", "veryfast", "-bf", "3")
#: An SEI NAL unit, which is not a picture (ITU-T H.264, 7.3.2.3), with a length prefix.
INFORMATION = b"\0\0\0\x04\x06\x05\x01\x80"
_VOP = b"\0\0\1\xb6"


def packing(name: str, recipe: Recipe, **more: Any) -> Cell:
    return Cell(name, "packing", recipe, **{"rate": recipe.rate, "padding": UNTOLD, **more})


def raw(suffix: str, *codec: str) -> Recipe:
    def rework(source: Path, target: Path) -> None:
        ffmpeg("-i", str(source), "-map", "0:v", "-c", "copy", str(target))

    return Recipe(suffix, codec=codec, sound=None, rework=rework)


def _is_b(data: bytes) -> bool:
    """Whether a frame of MPEG-4 part 2 is a B-frame (ISO/IEC 14496-2, 6.3.5: vop_coding_type)."""
    return data[data.index(_VOP) + 4] >> 6 == 2


def packed(source: Path, target: Path) -> None:
    """The packed bitstream of DivX 5: a B-frame shares a packet with the previous frame, and an empty packet follows."""
    with av.open(str(source)) as old:
        pictures = [bytes(packet) for packet in old.demux(old.streams.video[0]) if packet.size]
    out: list[bytes] = []
    for number, picture in enumerate(pictures):
        before = number > 0 and _is_b(pictures[number - 1])
        if not _is_b(picture):
            if before:
                out.append(_VOP + b"\x50\x00\x7f")
            out.append(picture)
        elif before:
            out.append(picture)
        else:
            out[-1] += picture
    out[0] = out[0].replace(_VOP, b"\0\0\1\xb2DivX503b1393p" + _VOP, 1)
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        tracks = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
        left = iter(out)
        for packet in old.demux():
            data = b"" if not packet.size else next(left, b"") if packet.stream.type == "video" else bytes(packet)
            if data:
                copy: Any = av.Packet(data)
                copy.pts = copy.dts = packet.dts
                copy.time_base, copy.duration, copy.is_keyframe = (
                    packet.time_base,
                    packet.duration,
                    packet.is_keyframe,
                )
                copy.stream = tracks[packet.stream.index]
                new.mux_one(copy)


def each_picture(change: Callable[[Tag, int], list[Tag]]) -> Callable[[Path, Path], None]:
    """A rework that replaces every frame by the result of ``change``, which gets the frame and its number."""

    def rework(source: Path, target: Path) -> None:
        found, number = list[Tag](), 0
        for tag in read_tags(source):
            if tag.kind == PICTURE and not tag.header:
                found += change(tag, number)
                number += 1
            else:
                found.append(tag)
        write_tags(target, found)

    return rework


def informed(tag: Tag, number: int) -> list[Tag]:
    ahead = replace(tag, ms=max(0, tag.ms - 20), body=b"\x27\1\0\0\0" + INFORMATION)
    return [ahead, tag] if number % 5 == 2 else [tag]


def twice(tag: Tag, number: int) -> list[Tag]:
    return [tag, tag] if 30 < number < 60 else [tag]


def trembling(by_ms: int) -> Callable[[Path, Path], None]:
    """A rework that adds jitter to the audio's timestamps."""

    def rework(source: Path, target: Path) -> None:
        chance = random.Random(1)
        write_tags(
            target,
            [
                replace(tag, ms=max(0, tag.ms + chance.randint(-by_ms, by_ms)))
                if tag.kind == SOUND and not tag.header
                else tag
                for tag in read_tags(source)
            ],
        )

    return rework


X265 = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:bframes=3:keyint=25")
CELLS = [
    packing("H.264 in fields, MPEG-TS", Recipe("ts", sound=FLAC, rework=in_fields, first="mkv"), short=True),
    packing("H.264 in fields, MP4", Recipe("mp4", sound=FLAC, rework=in_fields, first="mkv")),
    packing("AVI, H.264 with B-frames", Recipe("avi", codec=REORDERED, sound=PCM), short=True),
    packing("AVI, H.264 without", Recipe("avi", codec=PLAIN, sound=PCM)),
    packing("AVI, MPEG-4 with B-frames", Recipe("avi", codec=MPEG4, sound=PCM)),
    packing("AVI, MPEG-4 with packed B-frames", Recipe("avi", codec=MPEG4, sound=PCM, rework=packed, first="avi")),
    packing("raw H.264 with B-frames", raw("h264", *REORDERED)),
    packing("raw HEVC with B-frames", raw("hevc", *X265)),
    packing("packets of information alone", flv(rework=each_picture(informed))),
    packing("pictures that come twice", flv(rework=each_picture(twice))),
    packing("stamps of sound that tremble by 12 ms", flv(frames=200, rework=trembling(12))),
    packing("stamps of sound that tremble by 25 ms", flv(frames=200, rework=trembling(25)), short=True),
    packing("PCM of eight channels in QuickTime", Recipe("mov", codec=PLAIN, sound=("-c:a", "pcm_s24be"), channels=8)),
]
