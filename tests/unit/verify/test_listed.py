"""Manifests and playlists that are read to check them, and are not what they should be."""

from __future__ import annotations

import pytest

from streamwave.errors import MediaError
from streamwave.verify.hls import read_playlist
from streamwave.verify.mpd import MOST_SEGMENTS, read_mpd

MPD = (
    '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period id="p0"><AdaptationSet contentType="video"><Representation id="v" '
    'frameRate="25"><SegmentTemplate timescale="1000" media="$Time$" initialization="i"><SegmentTimeline><S d="2000" r="3" />'
    "</SegmentTimeline></SegmentTemplate></Representation></AdaptationSet></Period></MPD>"
)


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ('timescale="1000"', 'timescale="0"'),
        ('frameRate="25"', 'frameRate="1/0"'),
        ('frameRate="25"', 'frameRate="1e999999999"'),
        ('r="3"', f'r="{MOST_SEGMENTS + 1}"'),
        ('r="3"', 'r="9999999999999999"'),
        ("<MPD", '<?xml version="1.0" encoding="no-such"?><MPD'),
    ],
)
def test_a_manifest_with_an_impossible_number(good: str, bad: str) -> None:
    assert len(read_mpd(MPD.encode()).tracks[0].segments) == 4
    assert good in MPD
    with pytest.raises(MediaError):
        read_mpd(MPD.replace(good, bad, 1).encode())


@pytest.mark.parametrize("length", ["", "x", "1/0", "1e999999999"])
def test_a_playlist_with_an_impossible_length(length: str) -> None:
    with pytest.raises(MediaError, match="no duration"):
        read_playlist(f"#EXTM3U\n#EXTINF:{length},\na.m4s\n")
