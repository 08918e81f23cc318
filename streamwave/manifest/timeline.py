"""What a broadcast has published, as plain values: the input for rendering every manifest.

A timeline is a list of periods (ISO/IEC 23009-1, 5.3.2; each is an HLS discontinuity, RFC 8216 section 4.3.2.3). A period
has one track per rendition. Times are ticks in the track's timescale, starting at 0 in each period.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import ceil, gcd
from typing import NamedTuple

from streamwave.errors import MediaError
from streamwave.model import Rendition

#: Maximum difference between the ends of video and audio, in seconds. They differ because frame durations do.
UNEVEN = Fraction(1, 10)
#: What ``Timeline.as_watched`` adds, in seconds. shaka-player treats ends within 2 ms as equal.
OVER = Fraction(1, 100)


class SegmentRef(NamedTuple):
    """A published segment: the half-open range [time, time + duration) in ticks, and its size in bytes."""

    time: int
    duration: int
    size: int


@dataclass
class Track:
    """One rendition in one period. ``codecs`` is an RFC 6381 string read from the init segment."""

    rendition: Rendition
    timescale: int
    codecs: str
    init_size: int
    frame_rate: Fraction | None = None
    segments: list[SegmentRef] = field(default_factory=list)
    removed: int = 0  # segments that the DVR window has removed from the front
    longest: int = 0  # duration in ticks of the longest segment so far, including removed ones
    total_size: int = 0  # bytes of the listed segments

    def __post_init__(self) -> None:
        self.longest = max([self.longest, *(segment.duration for segment in self.segments)])
        self.total_size = sum(segment.size for segment in self.segments)

    @property
    def end(self) -> int:
        """Where the next segment must begin, in ticks."""
        return self.segments[-1].time + self.segments[-1].duration if self.segments else 0

    def stretched(self, end: Fraction) -> Track:
        """A copy whose last segment is extended to ``end`` (a whole tick), if the track ends at most ``UNEVEN`` before it."""
        if not self.segments or end - self.duration > UNEVEN:
            return self
        *others, last = self.segments
        return replace(self, segments=[*others, last._replace(duration=int(end * self.timescale) - last.time)])

    @property
    def duration(self) -> Fraction:
        """From the period's start to the end of the last segment, in seconds."""
        return Fraction(self.end, self.timescale)

    def append(self, segment: SegmentRef) -> None:
        """Add the next segment, which must begin where the last one ended; MediaError if it does not."""
        if segment.duration <= 0:
            raise MediaError(f"{self.rendition.name}: a segment at {segment.time} lasts {segment.duration} ticks")
        if self.segments and segment.time != self.end:
            raise MediaError(f"{self.rendition.name}: a segment begins at {segment.time}, the last ended at {self.end}")
        self.segments.append(segment)
        self.longest = max(self.longest, segment.duration)
        self.total_size += segment.size

    def drop(self, count: int) -> list[SegmentRef]:
        """Remove ``count`` segments from the front and return them."""
        gone = self.segments[:count]
        del self.segments[:count]
        self.removed += count
        self.total_size -= sum(segment.size for segment in gone)
        return gone

    def peak_bps(self) -> int:
        """Highest bit rate of a single segment, in bits per second, rounded up."""
        return max((-(-s.size * 8 * self.timescale // s.duration) for s in self.segments), default=0)

    def average_bps(self) -> int:
        """Average bit rate over all listed segments, in bits per second, rounded up."""
        ticks = self.listed_ticks
        return -(-self.total_size * 8 * self.timescale // ticks) if ticks else 0

    @property
    def listed_ticks(self) -> int:
        """Sum of the durations of the listed segments."""
        return self.end - self.segments[0].time if self.segments else 0


@dataclass
class Period:
    """A part of the broadcast with one set of init segments.

    ``name`` is the folder of its objects; ``start`` is in seconds since the broadcast's start; ``wall_unix_ms`` is the
    wall-clock time at its start (for EXT-X-PROGRAM-DATE-TIME), or None for a file. ``longest_chunk`` is in seconds: all
    segments of a chunk appear at once, so players must bridge that time between chunks. ``captions``: some of its video
    carries captions (CEA-608); ``captions_at_start``: that of its first chunk does.
    """

    name: str
    start: Fraction
    tracks: dict[str, Track] = field(default_factory=dict)
    wall_unix_ms: int | None = None
    longest_chunk: Fraction = Fraction(0)
    captions: bool = False
    captions_at_start: bool = False

    @property
    def duration(self) -> Fraction:
        """Length of the longest track, in seconds: readers drop media beyond the end of a period."""
        return max((t.duration for t in self.tracks.values()), default=Fraction(0))


@dataclass
class Timeline:
    """A broadcast: its periods, and whether it has ended (its manifests are then static).

    ``created_unix_ms`` is the wall-clock time at the broadcast's start (MPD@availabilityStartTime); ``segment_ms`` is the
    usual segment length in milliseconds, at which players poll; ``info`` is metadata from the publisher, such as title and
    encoder (ProgramInformation).

    Only counts remain of what has left a DVR window for good, so that memory stays bounded: ``gone_periods``,
    ``gone_segments`` by kind, ``gone_renditions`` (whose HLS playlists must continue), and ``longest`` in seconds.
    """

    created_unix_ms: int
    segment_ms: int
    periods: list[Period] = field(default_factory=list)
    ended: bool = False
    dvr_window_ms: int | None = None
    info: dict[str, str] = field(default_factory=dict)
    gone_periods: int = 0
    gone_segments: dict[str, int] = field(default_factory=dict)
    gone_renditions: dict[str, Rendition] = field(default_factory=dict)
    longest: Fraction = Fraction(0)

    @property
    def duration(self) -> Fraction:
        """From the broadcast's start to the end of its last period, in seconds."""
        return self.periods[-1].start + self.periods[-1].duration if self.periods else Fraction(0)

    @property
    def head(self) -> Fraction:
        """How much the DVR window has removed from the front of the first period, in seconds."""
        tracks = [t for t in self.periods[0].tracks.values() if t.segments] if self.periods else []
        # Video decides, because audio segments end at AAC frame boundaries.
        tracks.sort(key=lambda track: track.rendition.kind != "video")
        return Fraction(tracks[0].segments[0].time, tracks[0].timescale) if tracks else Fraction(0)

    @property
    def watchable(self) -> Fraction:
        """From the first listed segment to the end, in seconds: ``duration`` without what the DVR window has removed."""
        first = self.periods[:1]
        if not self.gone_periods and not any(track.removed for period in first for track in period.tracks.values()):
            return self.duration
        return self.duration - first[0].start - self.head

    def recorded_starts(self) -> list[Fraction]:
        """Start of each period in the recording, in seconds: the first segment is at 0, and there are no pauses."""
        starts, start = [], -self.head
        for period in self.periods:
            starts.append(start)
            start += period.duration
        return starts

    @property
    def live_born(self) -> bool:
        """Whether the broadcast was live rather than a transcoded file: the wall-clock time of its periods is known."""
        return any(period.wall_unix_ms is not None for period in self.periods)

    def as_watched(self) -> Timeline:
        """The ended timeline, for clients that watched it live: with the period starts and captions that it had while live.

        The stated durations of the last segments are slightly longer than the media, up to the stated end. A player that had
        loaded all segments before it learned of the end compares them with it: dash.js and shaka-player wait forever for the
        rest if audio and video do not end together to the microsecond.
        """
        periods = [replace(period, captions=period.captions_at_start) for period in self.periods]
        last = periods[-1]
        end = last.duration + OVER
        # All renditions of a kind must still end together, at a tick that exists in all their timescales.
        units: dict[str, int] = {}
        for track in last.tracks.values():
            units[track.rendition.kind] = gcd(units.get(track.rendition.kind, 0), track.timescale)
        ends = {kind: Fraction(ceil(end * unit), unit) for kind, unit in units.items()}
        last.tracks = {name: track.stretched(ends[track.rendition.kind]) for name, track in last.tracks.items()}
        return replace(self, periods=periods)

    def longest_segment(self) -> Fraction:
        """The longest segment published so far, including removed ones, in seconds."""
        tracks = [t for p in self.periods for t in p.tracks.values()]
        return max([self.longest, *(Fraction(t.longest, t.timescale) for t in tracks)])

    def trim(self) -> list[tuple[str, str, SegmentRef]]:
        """Remove everything before the DVR window, and return it as (period, rendition, segment).

        A period is removed with all its tracks once it is entirely outside, so that no track ends up with a hole. Until then
        segments are removed from its front, but every track keeps at least one. The objects must stay available for a while,
        because players hold older manifests.
        """
        if self.dvr_window_ms is None or not self.periods:
            return []
        self.longest = self.longest_segment()
        edge = self.duration - Fraction(self.dvr_window_ms, 1000)
        out: list[tuple[str, str, SegmentRef]] = []
        while len(self.periods) > 1 and self.periods[0].start + self.periods[0].duration <= edge:
            period = self.periods.pop(0)
            kinds: dict[str, int] = {}
            for name, track in period.tracks.items():
                kinds[track.rendition.kind] = track.removed + len(track.segments)
                self.gone_renditions[name] = track.rendition
                out += [(period.name, name, segment) for segment in track.segments]
            for kind in ("video", "audio"):
                # A kind that the period lacks was listed as gaps, one per segment of the other kind.
                count = kinds.get(kind, max(kinds.values(), default=0))
                self.gone_segments[kind] = self.gone_segments.get(kind, 0) + count
            self.gone_periods += 1
        period = self.periods[0]
        for name, track in period.tracks.items():
            limit = (edge - period.start) * track.timescale
            count = 0
            while count < len(track.segments) - 1 and track.segments[count + 1].time <= limit:
                count += 1
            out += [(period.name, name, segment) for segment in track.drop(count)]
        return out
