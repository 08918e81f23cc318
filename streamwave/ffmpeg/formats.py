"""The demuxers of libavformat that may be used: those that read only the bytes they are given."""

from __future__ import annotations

from typing import Any

#: Containers, elementary streams and still images. Left out because they open other files: concat, hls, dash, imf, image2, mlv,
#: sdp, rtp, rtsp, vobsub, svg_pipe, webm_dash_manifest, and all devices. Left out as never useful: subtitles, text, and formats
#: of games.
_PLAIN = (
    "bmp_pipe", "dpx_pipe", "exr_pipe", "hdr_pipe", "j2k_pipe", "jpeg_pipe", "jpegls_pipe", "jpegxl_pipe",
    "pam_pipe", "pgm_pipe", "png_pipe", "ppm_pipe", "qoi_pipe", "tiff_pipe", "webp_pipe",
    "aac", "ac3", "ac4", "aiff", "amr", "amrnb", "amrwb", "ape", "apng", "apv", "asf", "asf_o", "au", "av1",
    "avi", "avs2", "avs3", "caf", "cavsvideo", "dhav", "dirac", "dnxhd", "dsf", "dts", "dtshd", "dv", "eac3", "evc",
    "film_cpk", "flac", "flic", "flv", "g722", "gif", "gsm", "gxf", "h261", "h263", "h264", "hevc", "iamf", "iff", "ingenient",
    "ipu", "ivf", "ivr", "kux", "laf", "live_flv", "loas", "lvf", "lxf", "m4v", "matroska", "mjpeg", "mjpeg_2000", "mlp",
    "mov", "mp3", "mpc", "mpc8", "mpeg", "mpegts", "mpegvideo", "mpjpeg", "mxf", "nc", "nsv", "nut", "nuv", "obu",
    "ogg", "oma", "osq", "pva", "qcp", "r3d", "rm", "rpl", "s337m", "shn", "smjpeg", "sox", "spdif", "swf",
    "tak", "truehd", "tta", "ty", "vc1", "vc1test", "voc", "vvc", "w64", "wav", "webm", "wtv", "wv", "xwma",
    "yuv4mpegpipe",
)  # fmt: skip
#: For web servers also HLS playlists and their segments; those may only refer to web servers.
_OF_PLAYLISTS = ("hls", "webvtt")

#: Demuxers by the scheme of a source's address.
_ALLOWED = {
    "rtmp": ("flv", "live_flv"),
    "rtmps": ("flv", "live_flv"),
    "http": _PLAIN + _OF_PLAYLISTS,
    "https": _PLAIN + _OF_PLAYLISTS,
}
#: AVFMT_NOTIMESTAMPS, and demuxers that number frames although they do not have this flag.
_NO_TIMES = 0x0080
_COUNTED = frozenset({"ingenient", "ipu", "yuv4mpegpipe"})
#: First bytes of playlists and other lists of files.
_LISTS = (
    b"#EXTM3U",
    b"\xef\xbb\xbf#EXTM3U",
    b"ffconcat version",
    b"v=0\r\n",
    b"v=0\n",
    b"[playlist]",
    b"# VobSub index",
)
_XML = (b"<MPD", b"<SmoothStreamingMedia", b"<AssetMap", b"<CompositionPlaylist", b"<asx", b"<ASX", b"<smil")


def allowed_formats(url: str, *, flow: bool = False) -> str:
    """The demuxers that may read ``url``, as libavformat's comma-separated list.

    ``flow``: the data is passed in rather than fetched, so a playlist's segments could not be reached.
    """
    return ",".join(_PLAIN if flow else _ALLOWED.get(url.split(":", 1)[0].lower(), _PLAIN))


def counts_pictures(format: Any) -> bool:
    """Whether a demuxer (``av.ContainerFormat``) makes up timestamps by counting frames, because the format has none.

    libavformat marks raw streams in this way (AVFMT_NOTIMESTAMPS), but not sequences of still images.
    """
    return bool(format.flags & _NO_TIMES) or format.name in _COUNTED or format.name.endswith("_pipe")


def is_list(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is a list of other files rather than media."""
    return head.startswith(_LISTS) or (
        head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<") and any(w in head for w in _XML)
    )
