"""Metadata of publishers, usual and malformed: one publish with each, as RTMP messages.

Whatever the metadata says, the publish must be received according to its video and audio messages.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import inf, nan

from tests.matrix.flv import SCRIPT, SOUND, Tag
from tests.support.rtmp import AUDIO, DATA, VIDEO, Sent, amf

DATA_AMF3 = 15
NAME, SET, CLEAR = amf("onMetaData"), amf("@setDataFrame"), amf("@clearDataFrame")
END = b"\0\0\x09"
#: FFmpeg's metadata.
USUAL: dict[str, object] = {
    "duration": 0, "width": 160, "height": 90, "videodatarate": 300, "framerate": 25, "videocodecid": 7,
    "audiodatarate": 128, "audiosamplerate": 48000, "audiosamplesize": 16, "stereo": True, "audiocodecid": 10,
    "encoder": "Lavf",
}  # fmt: skip
#: Values of kinds that ``amf`` does not write: a date, undefined, a long string, a reference, XML.
DATE, UNDEFINED = b"\x0b" + struct.pack(">dh", 1.7e12, 0), b"\x06"
LONG, REFERENCE = b"\x0c" + struct.pack(">I", 100_000) + b"x" * 100_000, b"\x07\0\1"
XML = b"\x0f" + struct.pack(">I", 4) + b"<a/>"
NOT_UTF8 = b"\x02" + struct.pack(">H", 4) + b"\xff\xfe\xc3\x28"


@dataclass(frozen=True)
class Published:
    """What a publisher sends, and the expected result: number of video frames, and whether there is audio."""

    sent: tuple[Sent, ...]
    pictures: bool = True
    sound: bool = True


def members(values: Iterable[tuple[str | bytes, object]]) -> bytes:
    """Encode the members of an object or ECMA array; values of type bytes are inserted verbatim."""
    out = b""
    for name, value in values:
        key = name.encode() if isinstance(name, str) else name
        out += struct.pack(">H", len(key)) + key + (value if isinstance(value, bytes) else amf(value))
    return out


def ecma(values: dict[str, object], count: int | None = None) -> bytes:
    """An ECMA array (AMF0, 2.10) that states ``count`` members (None: the correct number)."""
    return b"\x08" + struct.pack(">I", len(values) if count is None else count) + members(values.items()) + END


def data(body: bytes, ms: int = 0, kind: int = DATA) -> Sent:
    """A data message."""
    return Sent(4, kind, body, ms, 1)


def said(**values: object) -> bytes:
    """The usual metadata with other values; None removes a value."""
    found = {key: value for key, value in (USUAL | values).items() if value is not None}
    return SET + NAME + ecma(found)


#: Metadata at the start of a publish, by what is special about it.
_AT_FIRST: dict[str, bytes] = {
    "as usual": said(),
    "without @setDataFrame": NAME + ecma(USUAL),
    "without @setDataFrame, as an object": NAME + amf(USUAL),
    "@setDataFrame alone": SET,
    "@setDataFrame and a name alone": SET + NAME,
    "a name alone": NAME,
    "no name": ecma(USUAL),
    "@setDataFrame twice": SET + SET + NAME + ecma(USUAL),
    "@clearDataFrame": CLEAR + NAME,
    "an ECMA array that says 0": SET + NAME + ecma(USUAL, 0),
    "an ECMA array that says too many": SET + NAME + ecma(USUAL, 0xFFFFFFFF),
    "an ECMA array without its end": SET + NAME + ecma(USUAL)[:-3],
    "an ECMA array with half an end": SET + NAME + ecma(USUAL)[:-1],
    "an empty ECMA array": SET + NAME + ecma({}),
    "an object": SET + NAME + amf(USUAL),
    "an object without its end": NAME + amf(USUAL)[:-3],
    "a strict array": SET + NAME + amf([1, 2, {"width": 160}]),
    "null": SET + NAME + amf(None),
    "undefined": SET + NAME + UNDEFINED,
    "a string": SET + NAME + amf("width=160"),
    "a number": SET + NAME + amf(25),
    "only a string": amf("hello"),
    "only a number": amf(1),
    "nothing": b"",
    "noise": bytes(range(200, 256)),
    "an unknown marker": SET + NAME + b"\x20\1\2\3",
    "cut off in a name": said()[:60],
    "cut off in a value": said()[:52],
    "cut off in @setDataFrame": SET[:9],
    "a name that is too long": amf("onMeta" + "a" * 200) + ecma(USUAL),
    "values that are no numbers": said(width=nan, height=nan, framerate=nan, videodatarate=nan),
    "values without bound": said(width=inf, height=-inf, framerate=inf, audiosamplerate=inf, duration=inf),
    "values below zero": said(width=-160, height=-90, framerate=-25, videocodecid=-7, audiocodecid=-10, duration=-5),
    "values of 1e300": said(width=1e300, framerate=1e300, audiosamplerate=1e300, duration=1e300, filesize=1e300),
    "values of 0": said(width=0, height=0, framerate=0, videodatarate=0, audiosamplerate=0),
    "values as strings": said(width="160", height="90", framerate="25", videocodecid="7", audiocodecid="10"),
    "codecs by name": said(videocodecid="avc1", audiocodecid="mp4a"),
    "codecs by FourCC": said(videocodecid=0x61766331, audiocodecid=0x6D703461),
    "codecs by names of others": said(videocodecid="VP6", audiocodecid="speex"),
    "codecs by wrong numbers": said(videocodecid=2, audiocodecid=2),
    "codecs by impossible numbers": said(videocodecid=999, audiocodecid=4095),
    "codecs as null": said(videocodecid=UNDEFINED, audiocodecid=b"\x05"),
    "codecs as booleans": said(videocodecid=True, audiocodecid=True),
    "no codecs": said(videocodecid=None, audiocodecid=None),
    "codecs of 0": said(videocodecid=0, audiocodecid=0),
    "no pictures, although some come": said(videocodecid=None, width=None, height=None, framerate=None),
    "no sound, although some comes": said(audiocodecid=None, audiosamplerate=None, stereo=None, audiodatarate=None),
    "another size": said(width=1920, height=1080),
    "a huge size": said(width=100_000, height=100_000),
    "another rate": said(framerate=60),
    "a rate of a thousandth": said(framerate=0.001),
    "another sample rate": said(audiosamplerate=8000, stereo=False),
    "a data rate of 0": said(videodatarate=0, audiodatarate=0),
    "a duration": said(duration=3600, filesize=1e9),
    "a thousand keys": said(**{f"key{n}": n for n in range(1000)}),
    "long strings": said(**{f"key{n}": "x" * 60_000 for n in range(3)}),
    "a long string": said(comment=LONG),
    "strings that are not UTF-8": said(encoder=NOT_UTF8, title=NOT_UTF8),
    "names that are not UTF-8": SET + NAME + b"\x08\0\0\0\1" + members([(b"\xff\xfe", 1), *USUAL.items()]) + END,
    "a date, undefined, a reference, XML": said(creationdate=DATE, a=UNDEFINED, b=REFERENCE, c=XML),
    "nested objects": said(keyframes={"times": [0, 1, 2], "filepositions": [1, 2, 3]}, a={"b": {"c": {"d": [1]}}}),
    "nested too deep": said(a=b"\x0a\0\0\0\1" * 100 + amf(1)),
    "an index of the file": said(keyframes={"times": list(range(3000)), "filepositions": list(range(3000))}),
    "a typed object": SET + NAME + b"\x10\0\4Meta" + members(USUAL.items()) + END,
    "more behind it": said() + amf("more", 1, {"a": 2}),
    "control characters": said(encoder="a\0b\nc\x7f"),
}  # fmt: skip


def shapes(tags: list[Tag]) -> Iterator[tuple[str, Published]]:
    """One publish for each shape; ``tags`` are an H.264 and AAC clip of at least two seconds."""
    media = [_sent(tag) for tag in tags if tag.kind != SCRIPT]
    heads = [one for one, tag in zip(media, (t for t in tags if t.kind != SCRIPT), strict=True) if tag.header]
    rest = [one for one in media if one not in heads]
    usual = said()
    middle = len(rest) * 4 // 5  # after libavformat has detected the streams
    at_ms = rest[middle].time_ms

    def first(*messages: Sent) -> Published:
        return Published((*messages, *heads, *rest))

    def within(*messages: Sent) -> Published:
        return Published((data(usual), *heads, *rest[:middle], *messages, *rest[middle:]))

    yield "none", first()
    for name, body in _AT_FIRST.items():
        yield name, first(data(body))
        if name in ("as usual", "without @setDataFrame", "nothing", "cut off in a value"):
            yield f"{name}, as AMF3", first(data(b"\0" + body, kind=DATA_AMF3))
    yield "AMF3 in it", first(data(b"\0" + NAME + b"\x11\x0a\x0b\1\x0bwidth\4\x78\1", kind=DATA_AMF3))
    yield "AMF3 without its first byte", first(data(usual, kind=DATA_AMF3))
    yield "behind the parameters", Published((*heads, data(usual), *rest))
    yield "between the parameters", Published((heads[0], data(usual), *heads[1:], *rest))
    yield "late", Published((*heads, *rest[:middle], data(usual, at_ms), *rest[middle:]))
    yield (
        "late and without @setDataFrame",
        Published((*heads, *rest[:middle], data(NAME + ecma(USUAL)), *rest[middle:])),
    )
    yield "over and over", Published((*heads, *(m for one in rest for m in (data(usual, one.time_ms), one))))
    yield "changed", within(data(said(width=320, height=180, framerate=50, videocodecid=2, audiocodecid=2), at_ms))
    yield "taken back", within(data(CLEAR + NAME, at_ms))
    yield "damaged in mid-stream", within(data(usual[:50], at_ms), data(b"", at_ms), data(bytes(5), at_ms))
    for name in ("onTextData", "onCuePoint", "onFI", "onCaption", "onXMPData", "|RtmpSampleAccess", "onWhatever"):
        body = amf(name) + amf({"text": "hello", "language": "en", "time": 1, "st": "12:00", "sd": "1.1.2026"})
        yield f"{name} between", within(data(body, at_ms), data(SET + body, at_ms), data(amf(name), at_ms))
        yield f"{name} first", first(data(body))
    alone = [one for one in (*heads, *rest) if one.kind == VIDEO]
    yield "sound that never comes", Published((data(usual), *alone), sound=False)
    yield "pictures without metadata", Published(tuple(alone), sound=False)
    heard = [one for one in (*heads, *rest) if one.kind == AUDIO]
    yield "pictures that never come", Published((data(usual), *heard), pictures=False)
    yield "sound without metadata", Published(tuple(heard), pictures=False)


def _sent(tag: Tag) -> Sent:
    return Sent(*((4, AUDIO) if tag.kind == SOUND else (6, VIDEO)), tag.body, tag.ms, 1)


def moved(sent: Sent, ms: int) -> Sent:
    """The same at another time."""
    return replace(sent, time_ms=ms)
