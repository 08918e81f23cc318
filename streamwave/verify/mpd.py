"""What an MPD of ours lists: periods, their renditions, and every object with its place."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from xml.etree import ElementTree

from streamwave.errors import MediaError

_NS = {"d": "urn:mpeg:dash:schema:mpd:2011"}


@dataclass(frozen=True)
class ListedTrack:
    """A Representation: ``segments`` are (name, time, duration), times in ticks of ``timescale``."""

    period: str
    name: str
    kind: str
    timescale: int
    frame_rate: Fraction | None
    init: str
    segments: tuple[tuple[str, int, int], ...]

    @property
    def frame_ticks(self) -> int:
        """Length of a picture, or of an AAC frame, in ticks; 0 if the manifest does not say."""
        if self.kind == "audio":
            return 1024
        ticks = self.timescale / self.frame_rate if self.frame_rate else Fraction(0)
        return ticks.numerator if ticks.denominator == 1 else 0


@dataclass(frozen=True)
class Listed:
    """An MPD: whether it may still grow, and its tracks in the order of the periods."""

    live: bool
    tracks: tuple[ListedTrack, ...]

    def objects(self) -> set[str]:
        """Names of all media that it lists."""
        return {track.init for track in self.tracks} | {name for track in self.tracks for name, _, _ in track.segments}


def read_mpd(manifest: bytes) -> Listed:
    """Everything that ``manifest`` lists.

    Raises:
        MediaError: it is not XML, or not an MPD of ours.
    """
    try:
        root = ElementTree.fromstring(manifest)
    except ElementTree.ParseError as error:
        raise MediaError(f"the manifest is not XML ({error})") from None
    tracks = []
    for period in root.iterfind("d:Period", _NS):
        for adaptation in period.iterfind("d:AdaptationSet", _NS):
            for representation in adaptation.iterfind("d:Representation", _NS):
                template = representation.find("d:SegmentTemplate", _NS)
                if template is None:
                    template = adaptation.find("d:SegmentTemplate", _NS)
                if template is None:
                    raise MediaError("the manifest has no SegmentTemplate")
                tracks.append(_track(period.get("id", ""), adaptation.get("contentType", ""), representation, template))
    if not tracks:
        raise MediaError("the manifest lists no media")
    return Listed(root.get("type") == "dynamic", tuple(tracks))


def _track(period: str, kind: str, representation: ElementTree.Element, template: ElementTree.Element) -> ListedTrack:
    name = representation.get("id", "")
    try:
        rate = representation.get("frameRate")
        media, init = template.get("media", ""), template.get("initialization", "")
        return ListedTrack(
            period=period,
            name=name,
            kind=kind,
            timescale=int(template.get("timescale", "1")),
            frame_rate=Fraction(rate) if rate else None,
            init=_fill(init, name),
            segments=tuple((_fill(media, name, time), time, length) for time, length in timeline_of(template)),
        )
    except (ValueError, ZeroDivisionError) as error:
        raise MediaError(f"the manifest holds a number that is none ({error})") from None


def _fill(template: str, name: str, time: int | None = None) -> str:
    """The address that a template stands for (ISO/IEC 23009-1, 5.3.9.4.4)."""
    values = {"RepresentationID": name, "Time": str(time), "": "$"}
    parts = template.split("$")
    # Every second part stands between dollar signs.
    return "".join(values.get(part, part) if number % 2 else part for number, part in enumerate(parts))


def timeline_of(template: ElementTree.Element) -> list[tuple[int, int]]:
    """(time, duration) in ticks of every segment of a SegmentTemplate (ISO/IEC 23009-1, 5.3.9.6)."""
    segments: list[tuple[int, int]] = []
    time = 0
    for entry in template.iterfind("d:SegmentTimeline/d:S", _NS):
        time = int(entry.get("t", str(time)))
        for _ in range(int(entry.get("r", "0")) + 1):
            segments.append((time, int(entry.get("d", "0"))))
            time += int(entry.get("d", "0"))
    return segments
