"""What only decoded pictures tell of a video track: fields, rotation, colours of the bitstream, peak of HDR."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import av.codec
import av.error
from av.container import InputContainer

from streamwave.ffmpeg.chunks import open_chunk
from streamwave.ffmpeg.h273 import MATRICES, PRIMARIES, TRANSFERS
from streamwave.model import Colour, SourceInfo, VideoInfo

#: Pictures that are looked at: the first of film on interlaced video may have no fields, so not only one.
PICTURES = 12
#: Packets of all tracks that are read for them at most.
_PACKETS = 500

# AVMasteringDisplayMetadata: three primaries and a white point of two rationals each, least and highest luminance as
# rationals, two flags. AVContentLightMetadata: two unsigned numbers, the first of which is the brightest pixel.
_MASTERING = struct.Struct("=20i2i")
_LIGHT = struct.Struct("=2I")


def examine(container: InputContainer, stream: Any, video: VideoInfo, max_pixels: int) -> VideoInfo:
    """``video`` with what the first pictures of ``stream`` say; they are decoded, and cannot be read again.

    Pictures that cannot be decoded, or have more than ``max_pixels``, say nothing, which is no error here.
    """
    stream.codec_context.options = {"max_pixels": str(max_pixels)}
    return described_by(islice(_decoded(container, stream), PICTURES), video)


def _decoded(container: InputContainer, stream: Any) -> Iterator[Any]:
    with suppress(av.error.FFmpegError, av.codec.codec.UnknownCodecError):
        for packet in islice(container.demux(stream), _PACKETS):
            yield from stream.decode(packet)


def examine_file(path: Path, source: SourceInfo, max_pixels: int) -> SourceInfo:
    """``source`` with what the first pictures of a chunk's file say."""
    if source.video is not None:
        with suppress(av.error.FFmpegError, OSError, IndexError), open_chunk(path) as container:
            seen = examine(container, container.streams.video[0], source.video, max_pixels)
            return source.model_copy(update={"video": seen})
    return source


def described_by(pictures: Iterable[Any], video: VideoInfo) -> VideoInfo:
    """``video`` with what ``pictures`` say of themselves; no more than two are kept at once, as 8K ones take 100 MB each."""
    first, interlaced, peak = None, False, None
    for picture in pictures:
        first = picture if first is None else first
        interlaced, peak = interlaced or picture.interlaced_frame, peak or _peak_nits(picture)
    if first is None:
        return video
    told, name = video.colour, first.format.name
    found = Colour(
        primaries=PRIMARIES.get(first.color_primaries, told.primaries),
        transfer=TRANSFERS.get(first.color_trc, told.transfer),
        matrix=MATRICES.get(first.colorspace, told.matrix),
        full_range=first.color_range == 2 or name.startswith("yuvj") or (first.color_range == 0 and told.full_range),
    )
    return video.model_copy(
        update={
            "pixel_format": name,
            # FFmpeg counts against the clock, we with it.
            "rotation": round(-first.rotation / 90) * 90 % 360,
            "interlaced": interlaced,
            "colour": found,
            "peak_nits": peak,
        }
    )


def _peak_nits(picture: Any) -> int | None:
    """The brightest pixel, as the content's light level says, else the display that it was mastered on."""
    side = {data.type.name: bytes(data) for data in picture.side_data}
    with suppress(struct.error):
        if brightest := _LIGHT.unpack_from(side.get("CONTENT_LIGHT_LEVEL", b""))[0]:
            return int(brightest)
    with suppress(struct.error):
        *_, numerator, denominator, _, _ = _MASTERING.unpack_from(side.get("MASTERING_DISPLAY_METADATA", b""))
        if numerator > 0 and denominator > 0:
            return int(numerator // denominator) or None
    return None
