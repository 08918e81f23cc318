"""Metadata written anew: what is needed of them comes out in one shape, whatever they were."""

from __future__ import annotations

from math import inf, nan

import pytest

from streamwave.ffmpeg.amf import read_values
from streamwave.ffmpeg.metadata import plain
from tests.support.metadata import LONG, NAME, SET, USUAL, ecma
from tests.support.rtmp import amf

KEPT = {b"width": 160.0, b"height": 90.0, b"framerate": 25.0, b"videocodecid": 7.0, b"audiosamplerate": 48000.0}


@pytest.mark.parametrize("values", [ecma(USUAL), ecma(USUAL, 0), ecma(USUAL, 2**32 - 1), ecma(USUAL)[:-3], amf(USUAL)])
@pytest.mark.parametrize("front", [b"", SET, SET * 2])
def test_one_shape_comes_of_all(values: bytes, front: bytes) -> None:
    found = plain(front + NAME + values)
    assert found is not None and plain(found) == found == plain(b"\0" + front + NAME + values, 1)
    assert read_values(found) == [b"onMetaData", KEPT | {b"audiocodecid": 10.0}]


@pytest.mark.parametrize("value", [nan, inf, -inf, -1, 0, 1e300, "25", None, True, [25], {"a": 1}])
def test_what_cannot_be_is_left_out(value: object) -> None:
    found = plain(NAME + ecma({"framerate": value, "width": 160, "encoder": "x"}))
    assert found is not None and read_values(found) == [b"onMetaData", {b"width": 160.0}]


def test_codecs_may_have_names() -> None:
    found = plain(NAME + ecma({"videocodecid": "avc1", "audiocodecid": LONG, "comment": LONG}))
    assert found is not None and read_values(found) == [b"onMetaData", {b"videocodecid": b"avc1"}]


@pytest.mark.parametrize(
    "body",
    [b"", NAME, SET, SET + NAME, NAME + amf(None), ecma(USUAL), amf("onCuePoint", USUAL), NAME + ecma({}), b"\x12"],
)
def test_what_is_no_metadata_is_nothing(body: bytes) -> None:
    assert plain(body) is None
