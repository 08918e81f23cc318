"""Count the samples and segments of a broadcast, as listed by its MPD."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

from streamwave.errors import MediaError
from streamwave.mp4.init import read_init
from streamwave.verify.media import check_segment
from streamwave.verify.mpd import ListedTrack, read_mpd


@dataclass
class RenditionReport:
    """What one rendition contains, in all periods together.

    Attributes:
        name: Name of the rendition.
        kind: "video" or "audio".
        samples: Number of video frames or AAC frames.
        segments: Number of media segments.
        seconds: Their length in seconds, as an exact fraction.
        faults: One sentence per problem.
    """

    name: str
    kind: str
    samples: int = 0
    segments: int = 0
    seconds: Fraction = Fraction(0)
    faults: list[str] = field(default_factory=list)


def read_broadcast(manifest: bytes, fetch: Callable[[str], bytes | None]) -> dict[str, RenditionReport]:
    """Fetch every object named in ``manifest`` (an MPD) with ``fetch``, check it, and report on each rendition by name.

    A missing object, and a timestamp, duration or gap that differs from the manifest, is a fault. Raises MediaError for an
    MPD that StreamWave did not write.
    """
    reports: dict[str, RenditionReport] = {}
    for track in read_mpd(manifest).tracks:
        _read_track(reports.setdefault(track.name, RenditionReport(track.name, track.kind)), track, fetch)
    return reports


def _read_track(report: RenditionReport, track: ListedTrack, fetch: Callable[[str], bytes | None]) -> None:
    init = fetch(track.init)
    if init is None:
        report.faults.append(f"{track.init} is missing")
        return
    summary = read_init(init)
    for name, time, duration in track.segments:
        data = fetch(name)
        if data is None:
            report.faults.append(f"{name} is missing")
            continue
        try:
            samples = check_segment(track, init, summary, data, time, duration, decode=False)
        except MediaError as error:
            report.faults.append(f"{name}: {error}")
            continue
        report.segments += 1
        report.samples += samples
        report.seconds += Fraction(duration, track.timescale)
