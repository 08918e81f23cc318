"""Read a broadcast through its manifest as a player does, and count what is in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from xml.etree import ElementTree

from streamwave.errors import MediaError
from streamwave.mp4.fragment import read_fragment
from streamwave.mp4.init import read_init
from streamwave.mp4.split import split_file

_NS = {"d": "urn:mpeg:dash:schema:mpd:2011"}


@dataclass
class RenditionReport:
    """What one rendition holds over all periods. ``samples`` are pictures, or AAC frames; ``seconds`` their length."""

    name: str
    kind: str
    samples: int = 0
    segments: int = 0
    seconds: Fraction = Fraction(0)
    faults: list[str] = field(default_factory=list)


def read_broadcast(manifest: bytes, fetch: Callable[[str], bytes | None]) -> dict[str, RenditionReport]:
    """Fetch every object that ``manifest`` (an MPD) names through ``fetch`` and check it against its place.

    A fault is a missing object, a time or duration other than the manifest says, or a hole. Raises MediaError for an MPD
    that is not one of ours.
    """
    try:
        root = ElementTree.fromstring(manifest)
    except ElementTree.ParseError as error:
        raise MediaError(f"the manifest is not XML ({error})") from None
    reports: dict[str, RenditionReport] = {}
    for period in root.iterfind("d:Period", _NS):
        for adaptation in period.iterfind("d:AdaptationSet", _NS):
            for representation in adaptation.iterfind("d:Representation", _NS):
                name, kind = representation.get("id", ""), adaptation.get("contentType", "")
                report = reports.setdefault(name, RenditionReport(name, kind))
                template = representation.find("d:SegmentTemplate", _NS)
                if template is None:
                    template = adaptation.find("d:SegmentTemplate", _NS)
                if template is None:
                    raise MediaError("the manifest has no SegmentTemplate")
                _read_track(report, template, name, fetch)
    return reports


def _read_track(
    report: RenditionReport, template: ElementTree.Element, name: str, fetch: Callable[[str], bytes | None]
) -> None:
    timescale = int(template.get("timescale", "1"))
    init_name = template.get("initialization", "").replace("$RepresentationID$", name)
    init = fetch(init_name)
    if init is None:
        report.faults.append(f"{init_name} is missing")
        return
    summary = read_init(init)
    for time, duration in timeline_of(template):
        object_name = template.get("media", "").replace("$RepresentationID$", name).replace("$Time$", str(time))
        data = fetch(object_name)
        if data is None:
            report.faults.append(f"{object_name} is missing")
            continue
        try:
            _, fragments = split_file(init + data)
            found = [read_fragment(fragment, summary) for fragment in fragments]
        except MediaError as error:
            report.faults.append(f"{object_name}: {error}")
            continue
        if found[0].time != time or sum(f.duration for f in found) != duration:
            report.faults.append(f"{object_name} is at {found[0].time} and not where the manifest says")
        report.segments += 1
        report.samples += sum(f.sample_count for f in found)
        report.seconds += Fraction(duration, timescale)


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
