"""The HLS playlists (RFC 8216 and its successor draft-pantos-hls-rfc8216bis) as pure functions of the timeline.

Every playlist has the same periods, each after the first behind an EXT-X-DISCONTINUITY, because players pair playlists
up by discontinuity sequence number. A playlist whose rendition a period lacks therefore goes on there with a stand-in:
the next smaller rendition of the same kind (else the next larger), or, where there is none, gaps (EXT-X-GAP).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from math import ceil

from streamwave import layout
from streamwave.errors import LadderError, MediaError
from streamwave.manifest.dash import wall_text
from streamwave.manifest.memo import Memo
from streamwave.manifest.rates import RECENT_SEGMENTS, average_bps, peak_bps
from streamwave.manifest.timeline import Period, SegmentRef, Timeline, Track
from streamwave.model import Rendition
from streamwave.storage.location import BaseUrl
from streamwave.timing import round_half_up

#: Fragmented MP4 with EXT-X-MAP in ordinary playlists needs 6 (RFC 8216, 7); 7 is what packagers declare for CMAF.
#: EXT-X-SERVER-CONTROL needs none: players that do not know it pass over it.
VERSION = 7

#: Name of the group of captions that pictures carry (EXT-X-MEDIA, RFC 8216, 4.3.4.1).
CAPTIONS = "captions"

#: Where playback starts when a player knows nothing of the network: the best variant up to this many bits per second.
STARTUP_BPS = 3_000_000


def target_duration_s(timeline: Timeline) -> int:
    """EXT-X-TARGETDURATION in seconds: no EXTINF rounds to more, and it must never change (RFC 8216, 4.3.3.1, 6.2.1).

    So it is not taken from the segments but from the rule that makes them: a chunk is split as soon as it is one and a
    half segments long (timing.split_evenly), hence no segment, rounded, exceeds that rounded up. Should one be longer
    all the same, it raises the value once, and for good (``Timeline.longest``).
    """
    return max(-(-3 * timeline.segment_ms // 2000), round_half_up(timeline.longest_segment()), 1)


def hold_back_s(timeline: Timeline) -> int | None:
    """EXT-X-SERVER-CONTROL:HOLD-BACK in seconds: how far behind the end of a live playlist players should begin.

    Three target durations where nothing is said (RFC 8216bis, 4.4.3.8), and never less. Where keyframes are rare that is
    too little: all segments of a chunk appear at once, and the next ones only after as long a chunk again. Then it is
    the longest chunk and two target durations to notice and to fetch the next one, else None. It never falls while the
    periods are listed, so that a reconnect does not change it, and grows in whole seconds.
    """
    target_s = target_duration_s(timeline)
    longest_s = ceil(max((period.longest_chunk for period in timeline.periods), default=Fraction(0)))
    return longest_s + 2 * target_s if not timeline.ended and longest_s > target_s else None


def playlist_renditions(timeline: Timeline) -> list[Rendition]:
    """All renditions that have a media playlist: those of any period, and those that only removed periods had."""
    known = dict(timeline.gone_renditions)
    for period in timeline.periods:
        known |= {name: track.rendition for name, track in period.tracks.items()}
    return list(known.values())


def render_master(
    timeline: Timeline,
    *,
    base_urls: Sequence[BaseUrl] = (),
    playlist_name: Callable[[str], str] = layout.playlist_name,
) -> bytes:
    """The master playlist as UTF-8: the renditions of all periods that are still listed.

    The first variant is the best one up to STARTUP_BPS, where many players begin; then from the highest to the lowest.
    Several ``base_urls`` give redundant variants (RFC 8216, 6.2.4), in their order. Rates are measured, and while the
    broadcast runs at least those of the ladder. ``playlist_name`` gives the media playlist of a
    rendition. Raises MediaError if nothing has been published yet.
    """
    periods = _published(timeline)
    tracks = {name: track for period in periods for name, track in period.tracks.items()}  # the latest period's
    video = [t.rendition for t in tracks.values() if t.rendition.kind == "video"]
    audio = [t.rendition for t in tracks.values() if t.rendition.kind == "audio"]
    lines = ["#EXTM3U", f"#EXT-X-VERSION:{VERSION}", "#EXT-X-INDEPENDENT-SEGMENTS"]
    variants = []
    for rendition in video or audio:
        members = [rendition, *(audio[:1] if video else [])]
        rates = [_rates(timeline, periods, member) for member in members]
        variants.append((sum(r[0] for r in rates), sum(r[1] for r in rates), members))
    variants.sort(key=lambda variant: -variant[0])
    affordable = [variant for variant in variants if variant[0] <= STARTUP_BPS] or variants[-1:]
    variants.sort(key=lambda variant: variant is not affordable[0])
    if video and any(period.captions for period in periods):
        lines.append(
            f'#EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID="{CAPTIONS}",NAME="Captions",DEFAULT=NO,AUTOSELECT=YES,'
            'INSTREAM-ID="CC1"'
        )
    for number, prefix in enumerate([base.url for base in base_urls] or [""]):
        group = "audio" if number == 0 else f"audio-{number + 1}"
        for rendition in audio if video else []:
            default = "YES" if rendition is audio[0] else "NO"
            lines.append(
                f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="{group}",NAME="{rendition.name}",LANGUAGE="und",DEFAULT={default},'
                f'AUTOSELECT=YES,CHANNELS="{rendition.channels}",URI="{prefix}{playlist_name(rendition.name)}"'
            )
        for peak, average, members in variants:
            lines.append(_stream_inf(timeline, periods, tracks, peak, average, members, group))
            lines.append(prefix + playlist_name(members[0].name))
    return ("\n".join(lines) + "\n").encode()


def render_media(timeline: Timeline, rendition_name: str, memo: Memo | None = None) -> bytes:
    """The media playlist of one rendition over all periods as UTF-8.

    EVENT while it grows, VOD at the end, no type where a DVR window takes segments away, also at its end.
    EXTINF has six decimals; each edge between segments is rounded, not each length, so that sums never drift: no edge is
    more than half a microsecond off. EXT-X-SERVER-CONTROL stands where ``hold_back_s`` gives a value, and
    EXT-X-PROGRAM-DATE-TIME at the start of every period whose wall clock is known. Raises MediaError if nothing has been
    published yet, LadderError for a rendition that no period ever had. ``memo`` of earlier renderings of the same broadcast
    saves work and changes nothing.
    """
    memo = memo or Memo()
    _published(timeline)
    rendition = next((r for r in playlist_renditions(timeline) if r.name == rendition_name), None)
    if rendition is None:
        raise LadderError(f"no period has a rendition {rendition_name!r}: choose one of those in the master playlist")
    sources = [(period, *_source(period, rendition)) for period in timeline.periods]
    # Periods at the front that have nothing left count as removed; a later empty one has just begun.
    skipped = 0
    while skipped < len(sources) - 1 and ((track := sources[skipped][1]) is None or not track.segments):
        skipped += 1
    sequence = timeline.gone_segments.get(rendition.kind, 0)
    sequence += sum(track.removed for _, track, _ in sources[: skipped + 1] if track is not None)
    head = [
        "#EXTM3U",
        f"#EXT-X-VERSION:{VERSION}",
        f"#EXT-X-TARGETDURATION:{target_duration_s(timeline)}",
        f"#EXT-X-MEDIA-SEQUENCE:{sequence}",
        f"#EXT-X-DISCONTINUITY-SEQUENCE:{timeline.gone_periods + skipped}",
        "#EXT-X-INDEPENDENT-SEGMENTS",
    ]
    if (hold_back := hold_back_s(timeline)) is not None:
        head.append(f"#EXT-X-SERVER-CONTROL:HOLD-BACK={hold_back}.0")
    if timeline.dvr_window_ms is None:
        head.append(f"#EXT-X-PLAYLIST-TYPE:{'VOD' if timeline.ended else 'EVENT'}")
    parts = [_text(head)]
    for index, (period, track, is_gap) in enumerate(sources[skipped:]):
        if track is not None:
            parts += _period_parts(period, track, is_gap, memo, discontinuity=index > 0)
    if timeline.ended:
        parts.append(b"#EXT-X-ENDLIST\n")
    return b"".join(parts)


def _text(lines: Sequence[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _published(timeline: Timeline) -> list[Period]:
    periods = [p for p in timeline.periods if any(t.segments for t in p.tracks.values())]
    if not periods:
        raise MediaError("the broadcast has no segment yet: publish its playlists after the first one")
    return periods


def _source(period: Period, rendition: Rendition) -> tuple[Track | None, bool]:
    """The track that ``rendition``'s playlist lists in ``period``, and whether only as gaps."""
    if rendition.name in period.tracks:
        return period.tracks[rendition.name], False
    same = [t for t in period.tracks.values() if t.rendition.kind == rendition.kind]
    if same:
        smaller = [t for t in same if t.rendition.max_bps <= rendition.max_bps]
        if smaller:
            return max(smaller, key=lambda t: t.rendition.max_bps), False
        return min(same, key=lambda t: t.rendition.max_bps), False
    # Gaps need lengths: those of the other kind, so that both playlists last equally long.
    return next(iter(period.tracks.values()), None), True


def _period_parts(period: Period, track: Track, is_gap: bool, memo: Memo, discontinuity: bool) -> Iterator[bytes]:
    name, timescale = track.rendition.name, track.timescale
    head = ["#EXT-X-DISCONTINUITY"] if discontinuity else []
    if not track.segments:
        yield _text(head)
        return
    if not is_gap:
        head.append(f'#EXT-X-MAP:URI="{layout.init_name(period.name, name)}"')
    if period.wall_unix_ms is not None:
        # Not of whole milliseconds in general; the rounding is the same in every rendering.
        since_ms = round_half_up(Fraction(track.segments[0].time * 1000, timescale))
        head.append(f"#EXT-X-PROGRAM-DATE-TIME:{wall_text(period.wall_unix_ms + since_ms)}")
    yield _text(head)

    def lines(segment: SegmentRef) -> str:
        start, end = (
            (2_000_000 * ticks + timescale) // (2 * timescale)  # microseconds, half up
            for ticks in (segment.time, segment.time + segment.duration)
        )
        whole, rest = divmod(end - start, 1_000_000)
        # A gap is not to be loaded; it names an object that exists, as everything in a playlist does.
        gap = "#EXT-X-GAP\n" if is_gap else ""
        return f"{gap}#EXTINF:{whole}.{rest:06d},\n{layout.segment_name(period.name, name, segment.time)}\n"

    yield memo.lines(period.name, name, is_gap).text(track, lines)


def _rates(timeline: Timeline, periods: Sequence[Period], rendition: Rendition) -> tuple[int, int]:
    """(peak, mean) in bits per second of what the playlist of ``rendition`` lists."""
    tracks = [track for track, is_gap in (_source(p, rendition) for p in periods) if track is not None and not is_gap]
    target_s = target_duration_s(timeline)
    newest = 0 if timeline.ended else -RECENT_SEGMENTS
    peak = max([peak_bps(t.segments[newest:], t.timescale, target_s) for t in tracks], default=0)
    mean = average_bps(tracks)
    return (peak, mean) if timeline.ended else (max(peak, rendition.max_bps), mean)


def _stream_inf(
    timeline: Timeline,
    periods: Sequence[Period],
    tracks: dict[str, Track],
    peak: int,
    average: int,
    members: Sequence[Rendition],
    group: str,
) -> str:
    """EXT-X-STREAM-INF of a video rendition with its audio, or of audio alone (RFC 8216, 4.3.4.2)."""
    codecs: list[str] = []
    for member in members:
        for period in periods:
            track, is_gap = _source(period, member)
            if track is not None and not is_gap and track.codecs not in codecs:
                codecs.append(track.codecs)
    rendition, attributes = members[0], [f"BANDWIDTH={peak}", f"AVERAGE-BANDWIDTH={average}"]
    attributes.append(f'CODECS="{",".join(codecs)}"')
    if rendition.kind == "video":
        attributes.append(f"RESOLUTION={rendition.width}x{rendition.height}")
        if (rate := tracks[rendition.name].frame_rate) is not None:
            thousandths = round_half_up(rate * 1000)
            attributes.append(f"FRAME-RATE={thousandths // 1000}.{thousandths % 1000:03d}")
    if len(members) > 1:
        attributes.append(f'AUDIO="{group}"')
    if rendition.kind == "video" and any(period.captions for period in periods):
        attributes.append(f'CLOSED-CAPTIONS="{CAPTIONS}"')
    elif rendition.kind == "audio" or timeline.ended:
        # Not while captions may still begin: players read this playlist once, and look for none where there are to be none.
        attributes.append("CLOSED-CAPTIONS=NONE")
    return "#EXT-X-STREAM-INF:" + ",".join(attributes)
