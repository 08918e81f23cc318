"""From whatever pictures a source has to those that every player shows right.

That is: progressive, upright, of square pixels, 8 bits in 4:2:0, in the limited range, and of standard dynamic range with
the colours of BT.709 or BT.601, named outright (docs/decisions/0007-pictures.md).
"""

from __future__ import annotations

import ffmpeg

from streamwave.ffmpeg import tonemap
from streamwave.model import Colour, Rendition, VideoInfo

UNKNOWN = "unknown"
HDR_TRANSFERS = frozenset({"smpte2084", "arib-std-b67"})
BT709 = Colour(primaries="bt709", transfer="bt709", matrix="bt709")

#: Primaries whose colours players show well enough whether or not they heed the tag; wider ones are converted.
_NARROW = frozenset({"bt709", "bt470m", "bt470bg", "smpte170m", "smpte240m"})
#: What goes with a matrix where a source names nothing else: primaries and transfer (ITU-T H.273, tables 2 to 4).
_FAMILIES = {
    "bt709": ("bt709", "bt709"),
    "smpte170m": ("smpte170m", "smpte170m"),
    "bt470bg": ("bt470bg", "smpte170m"),
    "smpte240m": ("smpte240m", "smpte240m"),
    "fcc": ("bt470m", "smpte170m"),
    "bt2020nc": ("bt2020", "bt2020-10"),
}
_MATRIX_OF_PRIMARIES = {primaries: matrix for matrix, (primaries, _) in _FAMILIES.items()}
#: Pixels each way that a deinterlacer needs: three of each plane, and one of colour may stand for four.
LEAST_DEINTERLACED = 9
#: swscale's names where they differ from those of the tags.
_SWSCALE_MATRIX = {"bt470bg": "bt601", "smpte170m": "bt601", "bt2020nc": "bt2020"}


def is_hdr(video: VideoInfo) -> bool:
    """Whether the source's brightness is coded for displays of high dynamic range (PQ or HLG)."""
    return video.colour.transfer in HDR_TRANSFERS


def is_rgb(video: VideoInfo) -> bool:
    """Whether its pixels are red, green and blue, which have no matrix."""
    return any(name in video.pixel_format for name in ("rgb", "bgr", "gbr", "pal8"))


def complete(video: VideoInfo) -> Colour:
    """The source's colour with what it leaves unsaid filled in: by what it does say, else by its size.

    Standard definition is BT.601 (of 625 lines where it has 576, else of 525), everything larger BT.709.
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
    """Whether its colours go beyond what renditions hold, so that they are converted and not only scaled."""
    colour = complete(video)
    return is_hdr(video) or colour.primaries not in _NARROW or colour.matrix == "bt2020nc"


def output_colour(video: VideoInfo | None) -> Colour:
    """The tags of the renditions: the source's own, or BT.709 where its colours are converted. Always limited range."""
    if video is None or is_wide(video):
        return BT709
    return complete(video).model_copy(update={"full_range": False})


def converted(video: VideoInfo | None) -> VideoInfo | None:
    """The source as if it had the colours of its renditions, for pictures that are made in its place."""
    return video and video.model_copy(update={"colour": output_colour(video)})


def upright(pictures: ffmpeg.Stream, video: VideoInfo | None, *, alone: bool = False) -> ffmpeg.Stream:
    """Deinterlaced, turned as the viewer is to see them, and with colours that are said outright.

    What the pictures say of themselves decides on deinterlacing, so that a programme may change between the two; those
    that are progressive pass untouched. One picture is made of two fields: frames in are frames out. ``alone``: there is
    but one picture, in which bwdif would take everything for standing still.
    """
    if video is None or min(video.width, video.height) >= LEAST_DEINTERLACED:
        filtered = ("estdif", {"mode": "frame"}) if alone else ("bwdif", {"mode": "send_frame"})
        pictures = pictures.filter(filtered[0], **filtered[1], parity="auto", deint="interlaced")
    # Turned here, and only here: later FFmpegs would hand the mark on to the player.
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
    """Scaled to ``rendition``, in 8-bit 4:2:0, with the colours of ``output_colour``.

    ``zimg`` False does without FFmpeg's zscale filter, at some cost in accuracy. Scaling comes before tone mapping,
    which is the dearer of the two.
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
    # It becomes part of the init segment, which must not depend on a chunk's pictures.
    return _tagged(pictures, colour)


def _tagged(pictures: ffmpeg.Stream, colour: Colour) -> ffmpeg.Stream:
    return pictures.filter(
        "setparams",
        range="pc" if colour.full_range else "tv",
        color_primaries=colour.primaries,
        color_trc=colour.transfer,
        colorspace=colour.matrix,
    )
