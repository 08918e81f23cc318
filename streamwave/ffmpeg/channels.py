"""Work around a crash of PyAV: it frees a custom channel order, as QuickTime files may have, twice.

That happens whenever a layout is read, which is once per decoded frame. So the custom order is replaced by the default one
for the same number of channels before decoding, and the one layout object that must be read for this is never freed.
"""

from __future__ import annotations

import ctypes
from typing import Any

#: Channels in libavutil's native order, which needs no list (libavutil/channel_layout.h).
_ORDER = (
    "FL", "FR", "FC", "LFE", "BL", "BR", "FLC", "FRC", "BC", "SL", "SR", "TC", "TFL", "TFC", "TFR", "TBL", "TBC", "TBR",
    "DL", "DR", "WL", "WR", "SDL", "SDR", "LFE2", "TSL", "TSR", "BFC", "BFL", "BFR",
)  # fmt: skip


def in_usual_order(container: Any) -> None:
    """Replace custom channel orders in the audio tracks of an open source by the default order."""
    for stream in container.streams.audio:
        context = stream.codec_context
        if context is None:
            continue
        layout = context.layout
        if _listed(layout.name):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(layout))
            context.layout = f"{layout.nb_channels}c"  # libavutil's name for the default layout


def _listed(name: str) -> bool:
    """Whether libavutil describes the layout as a list that is not in native order, such as "3 channels (FR+FL+FC)"."""
    if "(" not in name:
        return False
    names = name[name.index("(") + 1 :].rstrip(")").split("+")
    places = [_ORDER.index(one) if one in _ORDER else -1 for one in names]
    return -1 in places or places != sorted(set(places))
