"""A player for tests: reads a manifest, fetches the segments that it names, and decodes them."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from lxml import etree
from numpy.typing import NDArray

from tests.support.media import LOUD, picture_flashes, picture_number

MPD_NS = {"mpd": "urn:mpeg:dash:schema:mpd:2011"}


@dataclass(frozen=True)
class Segment:
    """A media segment as listed in the manifest: [time, time + duration) in ticks, and its bytes."""

    name: str
    time: int
    duration: int
    data: bytes

    @property
    def time_end(self) -> int:
        """End of the last segment, in ticks."""
        return self.time + self.duration


@dataclass(frozen=True)
class Representation:
    """One rendition of a period; ``attributes`` are those of its Representation element."""

    name: str
    kind: str
    timescale: int
    init: bytes
    segments: tuple[Segment, ...]
    attributes: dict[str, str]

    @property
    def data(self) -> bytes:
        """Init and media segments joined, as a player appends them to its buffer."""
        return self.init + b"".join(segment.data for segment in self.segments)


@dataclass(frozen=True)
class Picture:
    """A decoded frame: its time in ticks, its number and whether it is part of a flash."""

    time: int
    number: int
    flashes: bool


@dataclass(frozen=True)
class Sound:
    """Decoded audio: the mean of all channels; ``start`` is the time of the first sample, in samples."""

    rate: int
    start: int
    samples: NDArray[np.float32]

    def beeps(self) -> list[Fraction]:
        """Start times of the beeps, in seconds."""
        loud = np.flatnonzero(np.abs(self.samples) > LOUD / 2)
        assert loud.size, "there is no beep"
        # A beep's tone crosses zero twice per millisecond, and beeps are most of a second apart.
        begins = loud[np.flatnonzero(np.diff(loud, prepend=-self.rate) > self.rate // 4)]
        return [Fraction(int(sample) + self.start, self.rate) for sample in begins]


def load_mpd(root: Path) -> etree._Element:
    """The MPD element of a stream's manifest."""
    return etree.fromstring((root / "manifest.mpd").read_bytes())


def representations(root: Path, period: int = 0) -> dict[str, Representation]:
    """Every rendition of a period, with all its segments."""
    found = {}
    element = load_mpd(root).findall("mpd:Period", MPD_NS)[period]
    for adaptation in element.findall("mpd:AdaptationSet", MPD_NS):
        for one in adaptation.findall("mpd:Representation", MPD_NS):
            template = one.find("mpd:SegmentTemplate", MPD_NS)
            template = adaptation.find("mpd:SegmentTemplate", MPD_NS) if template is None else template
            assert template is not None
            name = one.attrib["id"]

            def fetch(pattern: str, time: int | str = "", name: str = name) -> tuple[str, bytes]:
                address = pattern.replace("$RepresentationID$", name).replace("$Time$", str(time))
                return address, (root / address).read_bytes()

            segments = []
            for time, duration in timeline(template):
                address, data = fetch(template.attrib["media"], time)
                segments.append(Segment(address, time, duration, data))
            found[name] = Representation(
                name,
                adaptation.attrib["contentType"],
                int(template.attrib["timescale"]),
                fetch(template.attrib["initialization"])[1],
                tuple(segments),
                dict(one.attrib),
            )
    return found


def timeline(template: etree._Element) -> list[tuple[int, int]]:
    """(time, duration) of every segment of a SegmentTemplate with a SegmentTimeline (ISO/IEC 23009-1, 5.3.9.6)."""
    found, time = [], 0
    for element in template.iterfind("mpd:SegmentTimeline/mpd:S", MPD_NS):
        time = int(element.get("t", time))
        duration = int(element.attrib["d"])
        for _ in range(int(element.get("r", 0)) + 1):
            found.append((time, duration))
            time += duration
    return found


def decode_pictures(data: bytes, timescale: int) -> list[Picture]:
    """All frames of init + segments, in presentation order."""
    with av.open(io.BytesIO(data), "r") as container:
        stream = container.streams.video[0]
        assert stream.time_base == Fraction(1, timescale)
        found = []
        for frame in container.decode(stream):
            luma = np.frombuffer(bytes(frame.planes[0]), np.uint8).reshape(-1, frame.planes[0].line_size)
            luma = luma[: frame.height, : frame.width]
            assert frame.pts is not None
            found.append(Picture(frame.pts, picture_number(luma), picture_flashes(luma)))
        return found


def decode_sound(data: bytes) -> Sound:
    """All samples of init + segments."""
    with av.open(io.BytesIO(data), "r") as container:
        stream = container.streams.audio[0]
        parts: list[NDArray[Any]] = []
        start, rate = None, 0
        for frame in container.decode(stream):
            assert frame.pts is not None and frame.time_base is not None
            place = frame.pts * frame.time_base * frame.sample_rate
            assert place.denominator == 1
            start = int(place) if start is None else start
            rate = frame.sample_rate
            assert place == start + sum(part.shape[1] for part in parts), "the sound has a gap or an overlap"
            parts.append(frame.to_ndarray())
        assert start is not None
        return Sound(rate, start, np.concatenate(parts, axis=1).mean(axis=0))


def playlist_tags(text: str) -> dict[str, list[str]]:
    """The tags of an HLS playlist by name, each with its values in order."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if match := re.fullmatch(r"#(EXT[A-Z0-9-]+)(?::(.*))?", line):
            found.setdefault(match[1], []).append(match[2] or "")
    return found


def playlist_addresses(text: str) -> list[str]:
    """The URIs in a playlist, in order."""
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def attributes(value: str) -> dict[str, str]:
    """An HLS attribute list (RFC 8216, section 4.2) without the quotes."""
    return {match[1]: match[2].strip('"') for match in re.finditer(r'([A-Z0-9-]+)=("[^"]*"|[^,]*)', value)}
