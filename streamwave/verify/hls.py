"""A parser for the HLS playlists that StreamWave writes (RFC 8216, 4.3)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from streamwave.errors import MediaError
from streamwave.untrusted import parse_fraction

_URI = re.compile(r'URI="([^"]*)"')
_TARGET = re.compile(r"^#EXT-X-TARGETDURATION:(\d{1,9})$", re.MULTILINE)
_ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^,]*)')


@dataclass(frozen=True)
class Variant:
    """EXT-X-STREAM-INF: what a master playlist states about ``playlist`` together with the audio playlist ``audio``."""

    playlist: str
    audio: str | None
    bandwidth_bps: int
    codecs: frozenset[str]
    resolution: str  # empty if missing


@dataclass(frozen=True)
class ListedPlaylist:
    """A media playlist: its segments as (name, seconds, is a gap), and its init segments."""

    segments: tuple[tuple[str, Fraction, bool], ...]
    inits: tuple[str, ...]
    ended: bool
    target_s: int | None = None  # EXT-X-TARGETDURATION

    def objects(self) -> set[str]:
        """Names of all media that a player loads."""
        return {*self.inits, *(name for name, _, gap in self.segments if not gap)}


def read_master(text: str) -> list[str]:
    """Names of the media playlists that a master playlist lists, without duplicates.

    Raises:
        MediaError: the text is not a master playlist.
    """
    if not text.startswith("#EXTM3U"):
        raise MediaError("does not begin with #EXTM3U")
    addresses = [line for line in text.splitlines() if line and not line.startswith("#")]
    addresses += [
        found[1] for line in text.splitlines() if line.startswith("#EXT-X-MEDIA:") and (found := _URI.search(line))
    ]
    if not addresses:
        raise MediaError("lists no playlist")
    # Playlists are in the folder of the master; with several base URLs the same ones are listed repeatedly.
    return list(dict.fromkeys(address.rpartition("/")[2] for address in addresses))


def read_variants(text: str) -> list[Variant]:
    """The variants of a master playlist, including redundant ones.

    Raises:
        MediaError: a bandwidth is not a number.
    """
    groups: dict[str, str] = {}
    variants: list[Variant] = []
    stated: dict[str, str] | None = None
    for line in text.splitlines():
        attributes = {name: value.strip('"') for name, value in _ATTRIBUTE.findall(line.partition(":")[2])}
        if line.startswith("#EXT-X-MEDIA:"):
            groups.setdefault(attributes.get("GROUP-ID", ""), attributes.get("URI", "").rpartition("/")[2])
        elif line.startswith("#EXT-X-STREAM-INF:"):
            stated = attributes
        elif line and not line.startswith("#") and stated is not None:
            bandwidth = stated.get("BANDWIDTH", "")
            if not bandwidth.isdigit():
                raise MediaError(f"BANDWIDTH is {bandwidth[:40]!r} instead of a number of bits per second")
            codecs = frozenset(filter(None, stated.get("CODECS", "").split(",")))
            audio = groups.get(stated["AUDIO"]) if "AUDIO" in stated else None
            playlist = line.rpartition("/")[2]
            variants.append(Variant(playlist, audio, int(bandwidth), codecs, stated.get("RESOLUTION", "")))
            stated = None
    return variants


def read_playlist(text: str) -> ListedPlaylist:
    """Parse a media playlist.

    Raises:
        MediaError: the text is not a media playlist.
    """
    if not text.startswith("#EXTM3U"):
        raise MediaError("does not begin with #EXTM3U")
    segments: list[tuple[str, Fraction, bool]] = []
    inits: list[str] = []
    seconds, gap = Fraction(0), False
    for line in text.splitlines():
        if line.startswith("#EXTINF:"):
            try:
                seconds = parse_fraction(line[8:].split(",")[0])
            except ValueError:
                raise MediaError(f"{line[:40]!r} has no duration") from None
        elif line == "#EXT-X-GAP":
            gap = True
        elif line.startswith("#EXT-X-MAP:") and (found := _URI.search(line)):
            inits.append(found[1])
        elif line and not line.startswith("#"):
            segments.append((line, seconds, gap))
            gap = False
    target = _TARGET.search(text)
    return ListedPlaylist(
        tuple(segments), tuple(dict.fromkeys(inits)), "#EXT-X-ENDLIST" in text, int(target[1]) if target else None
    )
