"""Convert HDR and wide colours to BT.709, with zimg filters, or with lookup tables if FFmpeg was built without zimg.

Luminance is unchanged up to slightly below diffuse white, which is 203 cd/m² in HDR (ITU-R BT.2408) and 1.0 in SDR.
Above, it is rolled off up to the source's peak.
"""

from __future__ import annotations

import ffmpeg

#: Diffuse white of HDR video in cd/m² (ITU-R BT.2408, table 1).
WHITE_NITS = 203
#: Peak luminance to assume if the source states none: the most common mastering peak, and the nominal one of HLG.
USUAL_PEAK_NITS = 1000
#: Where the roll-off begins, as a fraction of diffuse white.
_KNEE = 0.3

# ITU-R BT.2100, tables 4 and 5.
_PQ_LINEAR = (
    "10000*pow(max(pow({e},1/78.84375)-0.8359375,0)/(18.8515625-18.6875*pow({e},1/78.84375)),1/0.1593017578125)"
)
_HLG_SCENE = "if(lte({e},0.5),{e}*{e}/3,(exp(({e}-0.55991073)/0.17883277)+0.28466892)/12)"
#: Linear light from BT.2020 to BT.709 (ITU-R BT.2087, the inverse of its matrix M2), one row per output colour.
_TO_BT709 = {
    "rr": 1.6605, "rg": -0.5876, "rb": -0.0728,
    "gr": -0.1246, "gg": 1.1329, "gb": -0.0083,
    "br": -0.0182, "bg": -0.1006, "bb": 1.1187,
}  # fmt: skip


def peak(peak_nits: int | None) -> float:
    """The peak luminance as a multiple of diffuse white."""
    return max(peak_nits or USUAL_PEAK_NITS, WHITE_NITS) / WHITE_NITS


def with_zimg(pictures: ffmpeg.Stream, *, hdr: bool, peak_nits: int | None) -> ffmpeg.Stream:
    """Filters from tagged YUV frames to 8-bit limited-range BT.709."""
    pictures = pictures.filter("format", "yuv420p10le|yuv422p10le|yuv444p10le")
    if hdr:
        pictures = pictures.filter("zscale", transfer="linear", primaries="bt709", npl=WHITE_NITS)
        pictures = pictures.filter("format", "gbrpf32le")
        # The peak is explicit, because FFmpeg would otherwise take it from side data that not every chunk has.
        pictures = pictures.filter("tonemap", "mobius", param=_KNEE, desat=0, peak=f"{peak(peak_nits):.4f}")
    pictures = pictures.filter(
        "zscale", primaries="bt709", transfer="bt709", matrix="bt709", range="limited", dither="ordered"
    )
    for kind in ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"):
        pictures = pictures.filter("sidedata", mode="delete", type=kind)
    return pictures


def with_tables(pictures: ffmpeg.Stream, transfer: str, peak_nits: int | None) -> ffmpeg.Stream:
    """Filters from HDR frames with the BT.2020 matrix to R'G'B' in BT.709; each colour is rolled off separately."""
    top = max(peak_nits or USUAL_PEAK_NITS, WHITE_NITS)
    coded = "(val/maxval)"
    # HLG: apply the system gamma for a 1000 cd/m² display to each colour.
    nits = (_PQ_LINEAR if transfer == "smpte2084" else f"1000*pow({_HLG_SCENE},1.2)").format(e=coded)
    linear = f"maxval*min(({nits})/{top},1)"
    limit = top / WHITE_NITS
    # The curve of FFmpeg's tonemap filter "mobius".
    a = -_KNEE * _KNEE * (limit - 1) / (_KNEE * _KNEE - 2 * _KNEE + limit)
    b = (_KNEE * _KNEE - 2 * _KNEE * limit + limit) / max(limit - 1, 1e-6)
    scale = (b * b + 2 * b * _KNEE + _KNEE * _KNEE) / (b - a)
    light = f"({coded}*{limit:.6f})"
    rolled = f"if(lte({light},{_KNEE}),{light},{scale:.6f}*({light}+{a:.6f})/({light}+{b:.6f}))"
    # Encode such that a display (ITU-R BT.1886) reproduces this light, as zimg does.
    shown = f"maxval*pow({rolled},1/2.4)"
    pictures = pictures.filter("format", "gbrp16le").filter("lutrgb", r=linear, g=linear, b=linear)
    pictures = pictures.filter("colorchannelmixer", **_TO_BT709)
    return pictures.filter("lutrgb", r=shown, g=shown, b=shown)
