"""High dynamic range and wide colours to BT.709: as filters on zimg, or on tables where FFmpeg has been built without it.

Brightness is kept as it is up to a bit below diffuse white, which both kinds of video have at the same place: 203 cd/m²
in HDR (ITU-R BT.2408), 1.0 in SDR. What is brighter is rolled off up to the brightest that the source may hold.
"""

from __future__ import annotations

import ffmpeg

#: Diffuse white of HDR video in cd/m² (ITU-R BT.2408, table 1).
WHITE_NITS = 203
#: The brightest pixel of a source that does not say: what most is mastered for, and what HLG means.
USUAL_PEAK_NITS = 1000
#: Where the roll-off begins, of diffuse white.
_KNEE = 0.3

# ITU-R BT.2100, tables 4 and 5.
_PQ_LINEAR = (
    "10000*pow(max(pow({e},1/78.84375)-0.8359375,0)/(18.8515625-18.6875*pow({e},1/78.84375)),1/0.1593017578125)"
)
_HLG_SCENE = "if(lte({e},0.5),{e}*{e}/3,(exp(({e}-0.55991073)/0.17883277)+0.28466892)/12)"
#: Linear light of BT.2020 to that of BT.709 (ITU-R BT.2087, the inverse of its matrix M2): a row per colour that comes out.
_TO_BT709 = {
    "rr": 1.6605, "rg": -0.5876, "rb": -0.0728,
    "gr": -0.1246, "gg": 1.1329, "gb": -0.0083,
    "br": -0.0182, "bg": -0.1006, "bb": 1.1187,
}  # fmt: skip


def peak(peak_nits: int | None) -> float:
    """The brightest pixel, as a multiple of diffuse white."""
    return max(peak_nits or USUAL_PEAK_NITS, WHITE_NITS) / WHITE_NITS


def with_zimg(pictures: ffmpeg.Stream, *, hdr: bool, peak_nits: int | None) -> ffmpeg.Stream:
    """YUV pictures that carry their colour's tags, to 8 bits of BT.709 in the limited range."""
    pictures = pictures.filter("format", "yuv420p10le|yuv422p10le|yuv444p10le")
    if hdr:
        pictures = pictures.filter("zscale", transfer="linear", primaries="bt709", npl=WHITE_NITS)
        pictures = pictures.filter("format", "gbrpf32le")
        # The peak is said, because FFmpeg would take it from side data that not every chunk has.
        pictures = pictures.filter("tonemap", "mobius", param=_KNEE, desat=0, peak=f"{peak(peak_nits):.4f}")
    pictures = pictures.filter(
        "zscale", primaries="bt709", transfer="bt709", matrix="bt709", range="limited", dither="ordered"
    )
    for kind in ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"):
        pictures = pictures.filter("sidedata", mode="delete", type=kind)
    return pictures


def with_tables(pictures: ffmpeg.Stream, transfer: str, peak_nits: int | None) -> ffmpeg.Stream:
    """HDR pictures with the matrix of BT.2020, to R'G'B' of BT.709; each colour is rolled off by itself."""
    top = max(peak_nits or USUAL_PEAK_NITS, WHITE_NITS)
    coded = "(val/maxval)"
    # HLG: with the system gamma of a display of 1000 cd/m², on each colour.
    nits = (_PQ_LINEAR if transfer == "smpte2084" else f"1000*pow({_HLG_SCENE},1.2)").format(e=coded)
    linear = f"maxval*min(({nits})/{top},1)"
    limit = top / WHITE_NITS
    # The curve that FFmpeg's tonemap filter calls mobius.
    a = -_KNEE * _KNEE * (limit - 1) / (_KNEE * _KNEE - 2 * _KNEE + limit)
    b = (_KNEE * _KNEE - 2 * _KNEE * limit + limit) / max(limit - 1, 1e-6)
    scale = (b * b + 2 * b * _KNEE + _KNEE * _KNEE) / (b - a)
    light = f"({coded}*{limit:.6f})"
    rolled = f"if(lte({light},{_KNEE}),{light},{scale:.6f}*({light}+{a:.6f})/({light}+{b:.6f}))"
    # To the code that a display turns back into this light (ITU-R BT.1886), as zimg does.
    shown = f"maxval*pow({rolled},1/2.4)"
    pictures = pictures.filter("format", "gbrp16le").filter("lutrgb", r=linear, g=linear, b=linear)
    pictures = pictures.filter("colorchannelmixer", **_TO_BT709)
    return pictures.filter("lutrgb", r=shown, g=shown, b=shown)
