"""Channels in an order of their own, as QuickTime may list them: PyAV frees such a list twice, and the process dies.

It does so whenever a layout is asked for, and that is once for every decoded frame. So the order is replaced by the usual
one of as many channels before anything is decoded, and the one layout that had to be asked for is never freed.
"""

from __future__ import annotations

import ctypes
from typing import Any

#: Channels as libavutil orders them, which needs no list (libavutil/channel_layout.h).
_ORDER = (
    "FL", "FR", "FC", "LFE", "BL", "BR", "FLC", "FRC", "BC", "SL", "SR", "TC", "TFL", "TFC", "TFR", "TBL", "TBC", "TBR",
    "DL", "DR", "WL", "WR", "SDL", "SDR", "LFE2", "TSL", "TSR", "BFC", "BFL", "BFR",
)  # fmt: skip


def in_usual_order(container: Any) -> None:
    """Give every audio track of an open source whose channels have an order of their own the usual one."""
    for stream in container.streams.audio:
        context = stream.codec_context
        if context is None:
            continue
        layout = context.layout
        if _listed(layout.name):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(layout))
            context.layout = f"{layout.nb_channels}c"  # libavutil's word for the default of so many


def _listed(name: str) -> bool:
    """Whether a layout, as libavutil describes it, is a list: "3 channels (FR+FL+FC)", and not in the usual order."""
    if "(" not in name:
        return False
    names = name[name.index("(") + 1 :].rstrip(")").split("+")
    places = [_ORDER.index(one) if one in _ORDER else -1 for one in names]
    return -1 in places or places != sorted(set(places))
