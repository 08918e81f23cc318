"""Properties of a video track that only decoded frames reveal: interlacing, rotation, colour tags, HDR peak."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import av.codec
import av.error
from av.container import InputContainer
from av.sidedata.sidedata import Type

from streamwave.ffmpeg.chunks import open_chunk
from streamwave.ffmpeg.encrypted import check_clear
from streamwave.ffmpeg.h273 import MATRICES, PRIMARIES, TRANSFERS
from streamwave.model import Colour, SourceInfo, VideoInfo

#: Frames to decode: more than one, because the first frame of film on interlaced video may be progressive.
PICTURES = 12
#: Maximum number of packets, of all tracks, that are read for them.
_PACKETS = 500

# AVMasteringDisplayMetadata: three primaries and a white point of two rationals each, minimum and maximum luminance as
# rationals, two flags. AVContentLightMetadata: two unsigned numbers, of which the first is the peak luminance.
_MASTERING = struct.Struct("=20i2i")
_LIGHT = struct.Struct("=2I")
#: A display matrix, row by row.
_MATRIX = struct.Struct("=9i")


def _unnamed(kind: type[Type], value: object) -> Type:
    """A member for a type of side data that libavutil has but PyAV does not (EXIF, views of MV-HEVC).

    Without it, PyAV cannot list the side data of a frame that has one of them.
    """
    member = object.__new__(kind)
    member._name_ = f"UNNAMED_{value}"
    member._value_ = value  # type: ignore[assignment]
    return member


Type._missing_ = classmethod(_unnamed)  # type: ignore[assignment,method-assign]


def examine(
    container: InputContainer, stream: Any, video: VideoInfo, max_pixels: int, audio: Any = None, url: str = ""
) -> VideoInfo:
    """``video`` completed by what the first frames of ``stream`` reveal. They are decoded, and cannot be read again.

    Frames that cannot be decoded, or have more than ``max_pixels``, are ignored.

    Raises:
        SourceError: the video is encrypted, or the audio of the track ``audio`` that is interleaved with it.
    """
    stream.codec_context.options = {"max_pixels": str(max_pixels)}
    return described_by(islice(_decoded(container, stream, audio, url), PICTURES), video)


def _decoded(container: InputContainer, stream: Any, audio: Any, url: str) -> Iterator[Any]:
    read = [stream, audio] if audio is not None else [stream]
    with suppress(av.error.FFmpegError, av.codec.codec.UnknownCodecError):
        for packet in islice(container.demux(read), _PACKETS):
            check_clear(packet, url)
            if packet.stream_index == stream.index:
                yield from stream.decode(packet)


def examine_file(path: Path, source: SourceInfo, max_pixels: int) -> SourceInfo:
    """``source`` completed by what the first frames of a chunk's file reveal."""
    if source.video is not None:
        with suppress(av.error.FFmpegError, OSError, IndexError), open_chunk(path) as container:
            seen = examine(container, container.streams.video[0], source.video, max_pixels)
            return source.model_copy(update={"video": seen})
    return source


def described_by(pictures: Iterable[Any], video: VideoInfo) -> VideoInfo:
    """``video`` completed by the properties of ``pictures``. At most two are kept, because an 8K frame takes 100 MB."""
    first, interlaced, peak = None, False, None
    for picture in pictures:
        first = picture if first is None else first
        interlaced, peak = interlaced or picture.interlaced_frame, peak or _peak_nits(picture)
    if first is None:
        return video
    told, name = video.colour, first.format.name
    mirrored, rotation = orientation(_side_data(first).get("DISPLAYMATRIX", b""))
    found = Colour(
        primaries=PRIMARIES.get(first.color_primaries, told.primaries),
        transfer=TRANSFERS.get(first.color_trc, told.transfer),
        matrix=MATRICES.get(first.colorspace, told.matrix),
        full_range=first.color_range == 2 or name.startswith("yuvj") or (first.color_range == 0 and told.full_range),
    )
    return video.model_copy(
        update={
            "pixel_format": name,
            "mirrored": mirrored,
            "rotation": rotation,
            "interlaced": interlaced,
            "colour": found,
            "peak_nits": peak,
        }
    )


def orientation(matrix: bytes) -> tuple[bool, int]:
    """Whether a display matrix (ISO/IEC 14496-12, 8.3.2) mirrors horizontally, and the clockwise rotation after that,
    in degrees.

    Follows FFmpeg's programs: for a matrix that is not a combination of mirroring and right angles, only the rotation counts.
    """
    if len(matrix) < _MATRIX.size:
        return False, 0
    a, b, _, c, d, *_ = _MATRIX.unpack_from(matrix)
    across, down = math.hypot(a, c), math.hypot(b, d)
    if not across or not down:
        return False, 0
    degrees = round(math.degrees(math.atan2(b / down, a / across))) % 360
    if degrees == 90 and c > 0:
        return True, 270
    if degrees == 270 and c < 0:
        return True, 90
    if degrees == 180 and d > 0:
        return True, 0
    if degrees == 0 and d < 0:
        return True, 180
    return False, degrees


def _side_data(picture: Any) -> dict[str, bytes]:
    """The side data of a decoded frame, by the name of its type."""
    return {data.type.name: bytes(data) for data in picture.side_data}


def _peak_nits(picture: Any) -> int | None:
    """The peak luminance in cd/m², from the content light level, else from the mastering display."""
    side = _side_data(picture)
    with suppress(struct.error):
        if brightest := _LIGHT.unpack_from(side.get("CONTENT_LIGHT_LEVEL", b""))[0]:
            return int(brightest)
    with suppress(struct.error):
        *_, numerator, denominator, _, _ = _MASTERING.unpack_from(side.get("MASTERING_DISPLAY_METADATA", b""))
        if numerator > 0 and denominator > 0:
            return int(numerator // denominator) or None
    return None
