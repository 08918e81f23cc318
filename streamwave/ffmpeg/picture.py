"""Filters that convert a source's video to what every player shows correctly.

That is: progressive, upright, square pixels, 8-bit 4:2:0 in limited range, and standard dynamic range in BT.709 or
BT.601 with explicit tags (docs/decisions/0007-pictures.md).
"""

from __future__ import annotations

import ffmpeg

from streamwave.ffmpeg import tonemap
from streamwave.model import Colour, Rendition, VideoInfo

UNKNOWN = "unknown"
HDR_TRANSFERS = frozenset({"smpte2084", "arib-std-b67"})
BT709 = Colour(primaries="bt709", transfer="bt709", matrix="bt709")

#: Primaries that look right even in players that ignore the tags; wider ones are converted.
_NARROW = frozenset({"bt709", "bt470m", "bt470bg", "smpte170m", "smpte240m"})
#: Primaries and transfer to assume for a matrix if the source does not state them (ITU-T H.273, tables 2 to 4).
_FAMILIES = {
    "bt709": ("bt709", "bt709"),
    "smpte170m": ("smpte170m", "smpte170m"),
    "bt470bg": ("bt470bg", "smpte170m"),
    "smpte240m": ("smpte240m", "smpte240m"),
    "fcc": ("bt470m", "smpte170m"),
    "bt2020nc": ("bt2020", "bt2020-10"),
}
_MATRIX_OF_PRIMARIES = {primaries: matrix for matrix, (primaries, _) in _FAMILIES.items()}
#: Minimum width and height for deinterlacing: the filter needs three samples of each plane, and chroma may be subsampled by 4.
LEAST_DEINTERLACED = 9
#: swscale's names of matrices, where they differ from those of the tags.
_SWSCALE_MATRIX = {"bt470bg": "bt601", "smpte170m": "bt601", "bt2020nc": "bt2020"}


def is_hdr(video: VideoInfo) -> bool:
    """Whether the source is HDR (PQ or HLG)."""
    return video.colour.transfer in HDR_TRANSFERS


def is_rgb(video: VideoInfo) -> bool:
    """Whether its pixels are RGB, which has no matrix."""
    return any(name in video.pixel_format for name in ("rgb", "bgr", "gbr", "pal8"))


def complete(video: VideoInfo) -> Colour:
    """The source's colour, with missing parts inferred from the stated ones, else from the frame size.

    Standard definition is BT.601 (625 lines if the height is 576, else 525 lines); everything larger is BT.709.
    """
    told = video.colour
    matrix = told.matrix
    if matrix == UNKNOWN:
        matrix = "bt2020nc" if is_hdr(video) else _MATRIX_OF_PRIMARIES.get(told.primaries, _matrix_by_size(video))
    primaries, transfer = _FAMILIES[matrix]
    return Colour(
        primaries=primaries if told.primaries == UNKNOWN else told.primaries,
        transfer=transfer if told.transfer == UNKNOWN else told.transfer,
        matrix=matrix,
        full_range=told.full_range,
    )


def _matrix_by_size(video: VideoInfo) -> str:
    short, long = sorted((video.width, video.height))
    if short > 576 or long > 1024:
        return "bt709"
    return "bt470bg" if short == 576 else "smpte170m"


def is_wide(video: VideoInfo) -> bool:
    """Whether its colours exceed those of the renditions, so that they must be converted."""
    colour = complete(video)
    return is_hdr(video) or colour.primaries not in _NARROW or colour.matrix == "bt2020nc"


def output_colour(video: VideoInfo | None) -> Colour:
    """The colour tags of the renditions: the source's own, or BT.709 if its colours are converted. Always limited range."""
    if video is None or is_wide(video):
        return BT709
    return complete(video).model_copy(update={"full_range": False})


def converted(video: VideoInfo | None) -> VideoInfo | None:
    """``video`` with the colours of its renditions, for filler."""
    return video and video.model_copy(update={"colour": output_colour(video)})


def upright(pictures: ffmpeg.Stream, video: VideoInfo | None, *, alone: bool = False) -> ffmpeg.Stream:
    """Deinterlace, rotate and mirror the frames, and tag their colours explicitly.

    Each frame's own flag decides whether it is deinterlaced, because a program may switch; progressive frames pass
    unchanged. Two fields make one frame, so the number of frames does not change. ``alone``: there is only one frame, which
    bwdif would treat as static.
    """
    if video is None or min(video.width, video.height) >= LEAST_DEINTERLACED:
        filtered = ("estdif", {"mode": "frame"}) if alone else ("bwdif", {"mode": "send_frame"})
        pictures = pictures.filter(filtered[0], **filtered[1], parity="auto", deint="interlaced")
    # The rotation is applied by the filters below; newer FFmpegs would also pass it on to the player.
    pictures = pictures.filter("sidedata", mode="delete", type="DISPLAYMATRIX")
    if video is None:
        return pictures
    if video.mirrored:
        pictures = pictures.filter("hflip")
    if video.rotation == 90:
        pictures = pictures.filter("transpose", "clock")
    elif video.rotation == 180:
        pictures = pictures.filter("hflip").filter("vflip")
    elif video.rotation == 270:
        pictures = pictures.filter("transpose", "cclock")
    elif video.rotation:
        pictures = pictures.filter("rotate", f"{video.rotation}*PI/180")
    return pictures if is_rgb(video) else _tagged(pictures, complete(video))


def standard(
    pictures: ffmpeg.Stream, rendition: Rendition, video: VideoInfo | None, *, zimg: bool = True
) -> ffmpeg.Stream:
    """Scale to ``rendition``, and convert to 8-bit 4:2:0 with the colours of ``output_colour``.

    ``zimg`` False avoids FFmpeg's zscale filter, at some cost in accuracy. Scaling precedes tone mapping, which is more
    expensive per pixel.
    """
    colour = output_colour(video)
    matrix = _SWSCALE_MATRIX.get(colour.matrix, colour.matrix)
    size = {"w": rendition.width, "h": rendition.height, "flags": "bicubic"}
    if video is not None and is_wide(video) and (zimg or is_hdr(video)):
        pictures = pictures.filter("scale", **size)
        if zimg:
            pictures = tonemap.with_zimg(pictures, hdr=is_hdr(video), peak_nits=video.peak_nits)
        else:
            pictures = tonemap.with_tables(pictures, video.colour.transfer, video.peak_nits)
            pictures = pictures.filter("scale", out_color_matrix=matrix, out_range="tv")
    else:
        pictures = pictures.filter("scale", **size, out_color_matrix=matrix, out_range="tv")
    pictures = pictures.filter("setsar", 1).filter("format", "yuv420p")
    # The tags become part of the init segment, which must not depend on a chunk's frames.
    return _tagged(pictures, colour)


def _tagged(pictures: ffmpeg.Stream, colour: Colour) -> ffmpeg.Stream:
    return pictures.filter(
        "setparams",
        range="pc" if colour.full_range else "tv",
        color_primaries=colour.primaries,
        color_trc=colour.transfer,
        colorspace=colour.matrix,
    )
