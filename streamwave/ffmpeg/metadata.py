"""Rewrite the metadata of FLV and RTMP (Adobe Flash Video File Format Specification 10.1, E.5).

Encoders, relays and servers send it in many forms, some of which make libavformat end a stream or add tracks to it. Only the
expected codecs and rates are needed, so readers get those in one fixed form, or no metadata at all.
"""

from __future__ import annotations

import struct
from math import isfinite

from streamwave.ffmpeg.amf import AmfError, Value, read_values

SET_DATA_FRAME = b"\x02\x00\x0d@setDataFrame"
_NAME = b"\x02\x00\x0aonMetaData"
#: The members that are kept, with their maximum values; codecs are numbers or names (FourCC).
_NUMBERS = {b"width": 65_535, b"height": 65_535, b"framerate": 1000, b"audiosamplerate": 768_000}
_CODECS = (b"videocodecid", b"audiocodecid")
_MAX_CODEC, _MAX_CODEC_NAME = 0xFFFFFFFF, 16


def plain(body: bytes, start: int = 0) -> bytes | None:
    """The metadata in the body of a data message or script tag, from ``start`` on, as ``onMetaData`` and an ECMA array.

    None if it is not metadata, malformed, or contains nothing that is needed.
    """
    try:
        values = read_values(body, start)
    except AmfError:
        return None
    while values[:1] == [b"@setDataFrame"]:
        del values[0]
    if values[:1] != [b"onMetaData"] or len(values) < 2 or not isinstance(values[1], dict):
        return None
    kept = {name: coded for name, value in values[1].items() if (coded := _coded(name, value)) is not None}
    if not kept:
        return None
    members = b"".join(struct.pack(">H", len(name)) + name + coded for name, coded in kept.items())
    return _NAME + b"\x08" + struct.pack(">I", len(kept)) + members + b"\0\0\x09"


def _coded(name: bytes, value: Value) -> bytes | None:
    """The value of a member in AMF0; None if it is not needed or invalid."""
    if name in _CODECS and isinstance(value, bytes) and value.isalnum() and len(value) <= _MAX_CODEC_NAME:
        return b"\x02" + struct.pack(">H", len(value)) + value
    most = _MAX_CODEC if name in _CODECS else _NUMBERS.get(name, 0)
    if isinstance(value, float) and isfinite(value) and 0 < value <= most:
        return b"\0" + struct.pack(">d", value)
    return None
