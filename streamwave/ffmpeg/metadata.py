"""The metadata of FLV and RTMP (Adobe Flash Video File Format Specification 10.1, E.5), written anew.

Encoders, relays and servers send them in many shapes, some of which make libavformat end a stream, or add tracks to it. All
that is needed of them is which codecs are to come, and at which rate; what is read gets that in one shape, or nothing.
"""

from __future__ import annotations

import struct
from math import isfinite

from streamwave.ffmpeg.amf import AmfError, Value, read_values

SET_DATA_FRAME = b"\x02\x00\x0d@setDataFrame"
_NAME = b"\x02\x00\x0aonMetaData"
#: What is kept, with the largest number that it can be; codecs are numbers or names (FourCC).
_NUMBERS = {b"width": 65_535, b"height": 65_535, b"framerate": 1000, b"audiosamplerate": 768_000}
_CODECS = (b"videocodecid", b"audiocodecid")
_MOST_CODEC, _MOST_CODEC_NAME = 0xFFFFFFFF, 16


def plain(body: bytes, start: int = 0) -> bytes | None:
    """The metadata in the body of a data message or script tag, from ``start`` on: ``onMetaData`` and an ECMA array.

    None for what is no metadata, is not well-formed, or says nothing that is needed.
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
    """The value of a member in AMF0; None if it is not needed, or cannot be."""
    if name in _CODECS and isinstance(value, bytes) and value.isalnum() and len(value) <= _MOST_CODEC_NAME:
        return b"\x02" + struct.pack(">H", len(value)) + value
    most = _MOST_CODEC if name in _CODECS else _NUMBERS.get(name, 0)
    if isinstance(value, float) and isfinite(value) and 0 < value <= most:
        return b"\0" + struct.pack(">d", value)
    return None
