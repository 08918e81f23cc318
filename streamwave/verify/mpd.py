"""A parser for the MPDs that StreamWave writes: periods, their renditions, and every object with its timestamps."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction
from xml.etree import ElementTree

from streamwave.errors import MediaError
from streamwave.untrusted import parse_fraction, parse_xml

_NS = {"d": "urn:mpeg:dash:schema:mpd:2011"}
_DURATION = re.compile(r"PT(?=.)(?:(\d{1,12})H)?(?:(\d{1,12})M)?(?:(\d{1,12}(?:\.\d{1,12})?)S)?")
#: Limit on the segments of a manifest, because S@r can announce any number of them in a few bytes.
MOST_SEGMENTS = 1 << 22


@dataclass(frozen=True)
class ListedTrack:
    """A Representation: ``segments`` are (name, time, duration) in ticks of ``timescale``.

    ``offset`` is the media time at which the period starts (presentationTimeOffset). Missing sizes and rates are 0.
    """

    period: str
    name: str
    kind: str
    timescale: int
    frame_rate: Fraction | None
    init: str
    segments: tuple[tuple[str, int, int], ...]
    offset: int = 0
    codecs: str = ""
    bandwidth_bps: int = 0
    width_px: int = 0
    height_px: int = 0
    sample_rate: int = 0

    @property
    def frame_ticks(self) -> int:
        """Duration of a video frame or AAC frame in ticks; 0 if the manifest does not state it."""
        if self.kind == "audio":
            return 1024
        ticks = self.timescale / self.frame_rate if self.frame_rate else Fraction(0)
        return ticks.numerator if ticks.denominator == 1 else 0


@dataclass(frozen=True)
class Listed:
    """An MPD: whether it is dynamic, its tracks in the order of the periods, and the periods' ``starts`` in seconds.

    ``duration`` is mediaPresentationDuration in seconds, None if missing; ``buffer_ms`` is minBufferTime.
    """

    live: bool
    tracks: tuple[ListedTrack, ...]
    starts: dict[str, Fraction] = field(default_factory=dict)
    duration: Fraction | None = None
    buffer_ms: int = 0

    @property
    def end(self) -> Fraction:
        """End of the last segment of the last period, in seconds of the presentation."""
        ends = [
            self.starts.get(track.period, Fraction(0)) + Fraction(at + length - track.offset, track.timescale)
            for track in self.tracks
            for _, at, length in track.segments[-1:]
        ]
        return max(ends, default=Fraction(0))

    def objects(self) -> set[str]:
        """Names of all init and media segments."""
        return {track.init for track in self.tracks} | {name for track in self.tracks for name, _, _ in track.segments}


def read_mpd(manifest: bytes) -> Listed:
    """Parse an MPD.

    Raises:
        MediaError: ``manifest`` is not XML, or not an MPD that StreamWave writes.
    """
    try:
        root = parse_xml(manifest)
    except ValueError as error:
        raise MediaError(f"the manifest is not XML ({error})") from None
    repeats = sum(_whole(entry.get("r", "0")) for entry in root.iterfind(".//d:S", _NS))
    if repeats > MOST_SEGMENTS:
        raise MediaError(f"the manifest lists {repeats} segments; at most {MOST_SEGMENTS} can be checked")
    tracks, starts = [], {}
    for period in root.iterfind("d:Period", _NS):
        starts[period.get("id", "")] = _seconds(period.get("start")) or Fraction(0)
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
    buffer = _seconds(root.get("minBufferTime")) or Fraction(0)
    return Listed(
        live=root.get("type") == "dynamic",
        tracks=tuple(tracks),
        starts=starts,
        duration=_seconds(root.get("mediaPresentationDuration")),
        buffer_ms=int(buffer * 1000),
    )


def _seconds(text: str | None) -> Fraction | None:
    """Parse an xs:duration of hours, minutes and seconds; the result is in seconds.

    Raises:
        MediaError: the text is not such a duration.
    """
    if text is None:
        return None
    found = _DURATION.fullmatch(text)
    if found is None:
        raise MediaError(f"{text[:40]!r} is not a duration")
    hours, minutes, seconds = (Fraction(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds


def _track(period: str, kind: str, representation: ElementTree.Element, template: ElementTree.Element) -> ListedTrack:
    name = representation.get("id", "")
    try:
        rate = representation.get("frameRate")
        media, init = template.get("media", ""), template.get("initialization", "")
        return ListedTrack(
            period=period,
            name=name,
            kind=kind,
            timescale=_ticks_per_second(template.get("timescale", "1")),
            frame_rate=parse_fraction(rate) if rate else None,
            init=_fill(init, name),
            segments=tuple((_fill(media, name, time), time, length) for time, length in timeline_of(template)),
            offset=int(template.get("presentationTimeOffset", "0")),
            codecs=representation.get("codecs", ""),
            bandwidth_bps=int(representation.get("bandwidth", "0")),
            width_px=int(representation.get("width", "0")),
            height_px=int(representation.get("height", "0")),
            sample_rate=int(representation.get("audioSamplingRate", "0")),
        )
    except ValueError as error:
        raise MediaError(f"the manifest has an invalid number ({error})") from None


def _fill(template: str, name: str, time: int | None = None) -> str:
    """Substitute the identifiers of a segment template (ISO/IEC 23009-1, 5.3.9.4.4)."""
    values = {"RepresentationID": name, "Time": str(time), "": "$"}
    parts = template.split("$")
    # Every second part is enclosed in dollar signs.
    return "".join(values.get(part, part) if number % 2 else part for number, part in enumerate(parts))


def _whole(text: str) -> int:
    return int(text) if re.fullmatch(r"[0-9]{1,20}", text) else 0


def _ticks_per_second(text: str) -> int:
    if (ticks := int(text)) < 1:
        raise ValueError(f"timescale {ticks}")
    return ticks


def timeline_of(template: ElementTree.Element) -> list[tuple[int, int]]:
    """(time, duration) in ticks of every segment of a SegmentTemplate (ISO/IEC 23009-1, 5.3.9.6).

    Raises:
        ValueError: an attribute is not a number.
    """
    segments: list[tuple[int, int]] = []
    time = 0
    for entry in template.iterfind("d:SegmentTimeline/d:S", _NS):
        time = int(entry.get("t", str(time)))
        for _ in range(int(entry.get("r", "0")) + 1):
            segments.append((time, int(entry.get("d", "0"))))
            time += int(entry.get("d", "0"))
    return segments
