"""What HLS playlists of ours list (RFC 8216, 4.3)."""

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
    """EXT-X-STREAM-INF: what a master playlist says of ``playlist`` together with ``audio``, a playlist of sound."""

    playlist: str
    audio: str | None
    bandwidth_bps: int
    codecs: frozenset[str]
    resolution: str  # empty where none stands


@dataclass(frozen=True)
class ListedPlaylist:
    """A media playlist: (name, seconds, whether a gap) of its segments, and the init segments before them."""

    segments: tuple[tuple[str, Fraction, bool], ...]
    inits: tuple[str, ...]
    ended: bool
    target_s: int | None = None  # EXT-X-TARGETDURATION

    def objects(self) -> set[str]:
        """Names of all media that a player loads."""
        return {*self.inits, *(name for name, _, gap in self.segments if not gap)}


def read_master(text: str) -> list[str]:
    """Names of the media playlists that a master playlist lists, each once; of redundant variants the first.

    Raises:
        MediaError: it is not a master playlist.
    """
    if not text.startswith("#EXTM3U"):
        raise MediaError("it does not begin with #EXTM3U")
    addresses = [line for line in text.splitlines() if line and not line.startswith("#")]
    addresses += [
        found[1] for line in text.splitlines() if line.startswith("#EXT-X-MEDIA:") and (found := _URI.search(line))
    ]
    if not addresses:
        raise MediaError("it lists no playlist")
    # Playlists lie beside the master; several base addresses name the same ones again.
    return list(dict.fromkeys(address.rpartition("/")[2] for address in addresses))


def read_variants(text: str) -> list[Variant]:
    """What a master playlist says of its variants; redundant ones too.

    Raises:
        MediaError: a bandwidth is no number.
    """
    groups: dict[str, str] = {}
    variants: list[Variant] = []
    said: dict[str, str] | None = None
    for line in text.splitlines():
        attributes = {name: value.strip('"') for name, value in _ATTRIBUTE.findall(line.partition(":")[2])}
        if line.startswith("#EXT-X-MEDIA:"):
            groups.setdefault(attributes.get("GROUP-ID", ""), attributes.get("URI", "").rpartition("/")[2])
        elif line.startswith("#EXT-X-STREAM-INF:"):
            said = attributes
        elif line and not line.startswith("#") and said is not None:
            bandwidth = said.get("BANDWIDTH", "")
            if not bandwidth.isdigit():
                raise MediaError(f"BANDWIDTH is {bandwidth[:40]!r}, a number of bits per second was due")
            codecs = frozenset(filter(None, said.get("CODECS", "").split(",")))
            audio = groups.get(said["AUDIO"]) if "AUDIO" in said else None
            playlist = line.rpartition("/")[2]
            variants.append(Variant(playlist, audio, int(bandwidth), codecs, said.get("RESOLUTION", "")))
            said = None
    return variants


def read_playlist(text: str) -> ListedPlaylist:
    """What a media playlist lists.

    Raises:
        MediaError: it is not a media playlist.
    """
    if not text.startswith("#EXTM3U"):
        raise MediaError("it does not begin with #EXTM3U")
    segments: list[tuple[str, Fraction, bool]] = []
    inits: list[str] = []
    seconds, gap = Fraction(0), False
    for line in text.splitlines():
        if line.startswith("#EXTINF:"):
            try:
                seconds = parse_fraction(line[8:].split(",")[0])
            except ValueError:
                raise MediaError(f"{line[:40]!r} has no length") from None
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
