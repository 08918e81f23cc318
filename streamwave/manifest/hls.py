"""The HLS playlists (RFC 8216 and its successor draft-pantos-hls-rfc8216bis) as pure functions of the timeline.

All playlists have the same periods, separated by EXT-X-DISCONTINUITY, because players match playlists by discontinuity
sequence number. If a period lacks a playlist's rendition, the playlist continues there with a substitute: the next smaller
rendition of the same kind, else the next larger one, else gaps (EXT-X-GAP).
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

#: Fragmented MP4 with EXT-X-MAP in media playlists requires 6 (RFC 8216, 7); packagers declare 7 for CMAF. EXT-X-SERVER-CONTROL
#: requires no version: players that do not know it ignore it.
VERSION = 7

#: Name of the group of in-band captions (EXT-X-MEDIA, RFC 8216, 4.3.4.1).
CAPTIONS = "captions"

#: The first variant is the best one within this bit rate, because players start with it before they know the bandwidth.
STARTUP_BPS = 3_000_000


def target_duration_s(timeline: Timeline) -> int:
    """EXT-X-TARGETDURATION in seconds: no EXTINF rounds to more, and it must never change (RFC 8216, 4.3.3.1, 6.2.1).

    It is therefore derived from how chunks are split rather than from the segments: chunks are split from one and a half
    segments up (timing.split_evenly), so no segment exceeds one and a half, rounded up. If one does nevertheless,
    the value increases permanently (``Timeline.longest``).
    """
    return max(-(-3 * timeline.segment_ms // 2000), round_half_up(timeline.longest_segment()), 1)


def hold_back_s(timeline: Timeline) -> int | None:
    """EXT-X-SERVER-CONTROL:HOLD-BACK in seconds: how far behind the end of a live playlist players should start.

    The default is three target durations (RFC 8216bis, 4.4.3.8), which is also the minimum. That is too little if keyframes
    are rare, because all segments of a chunk appear at once, and the next ones only a chunk's length later. Then it is the
    longest chunk plus two target durations to notice and fetch the next one; otherwise None, for the default. It is in
    whole seconds and does not decrease while the periods are listed, so a reconnect does not change it.
    """
    target_s = target_duration_s(timeline)
    longest_s = ceil(max((period.longest_chunk for period in timeline.periods), default=Fraction(0)))
    return longest_s + 2 * target_s if not timeline.ended and longest_s > target_s else None


def playlist_renditions(timeline: Timeline) -> list[Rendition]:
    """All renditions that have a media playlist, including those that only periods outside the DVR window had."""
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
    """Render the master playlist as UTF-8, with the renditions of all listed periods.

    The first variant is the best one up to STARTUP_BPS, because many players start with the first; the others follow from the
    highest to the lowest bit rate. Several ``base_urls`` produce redundant variants (RFC 8216, 6.2.4) in their order. Bit rates
    are measured, and while the broadcast is live they are at least those of the ladder. ``playlist_name`` returns the name of
    a rendition's media playlist.

    Raises:
        MediaError: nothing has been published yet.
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
    """Render the media playlist of one rendition over all periods as UTF-8.

    Its type is EVENT while live and VOD at the end; with a DVR window it has none, even at the end, because segments are
    removed. EXTINF has six decimals. Segment boundaries are rounded rather than durations, so errors do not accumulate:
    each boundary is exact to half a microsecond. EXT-X-SERVER-CONTROL is present if ``hold_back_s`` returns a value, and
    EXT-X-PROGRAM-DATE-TIME at the start of every period whose wall-clock time is known. ``memo`` of earlier renderings of the
    same broadcast saves work without changing the result.

    Raises:
        MediaError: nothing has been published yet.
        LadderError: no period ever had this rendition.
    """
    memo = memo or Memo()
    _published(timeline)
    rendition = next((r for r in playlist_renditions(timeline) if r.name == rendition_name), None)
    if rendition is None:
        raise LadderError(f"no period has a rendition {rendition_name!r}: choose one of those in the master playlist")
    sources = [(period, *_source(period, rendition)) for period in timeline.periods]
    # Leading periods without segments count as removed; a later empty period has just begun.
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
    """The track that ``rendition``'s playlist lists in ``period``, and whether its segments are listed as gaps."""
    if rendition.name in period.tracks:
        return period.tracks[rendition.name], False
    same = [t for t in period.tracks.values() if t.rendition.kind == rendition.kind]
    if same:
        smaller = [t for t in same if t.rendition.max_bps <= rendition.max_bps]
        if smaller:
            return max(smaller, key=lambda t: t.rendition.max_bps), False
        return min(same, key=lambda t: t.rendition.max_bps), False
    # Gaps use the durations of the other kind, so that both playlists have the same length.
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
        # Rounded to milliseconds, in the same way in every rendering.
        since_ms = round_half_up(Fraction(track.segments[0].time * 1000, timescale))
        head.append(f"#EXT-X-PROGRAM-DATE-TIME:{wall_text(period.wall_unix_ms + since_ms)}")
    yield _text(head)

    def lines(segment: SegmentRef) -> str:
        start, end = (
            (2_000_000 * ticks + timescale) // (2 * timescale)  # microseconds, half up
            for ticks in (segment.time, segment.time + segment.duration)
        )
        whole, rest = divmod(end - start, 1_000_000)
        # Players do not load gaps, but their URI is required; an existing object is named, like everywhere in a playlist.
        gap = "#EXT-X-GAP\n" if is_gap else ""
        return f"{gap}#EXTINF:{whole}.{rest:06d},\n{layout.segment_name(period.name, name, segment.time)}\n"

    yield memo.lines(period.name, name, is_gap).text(track, lines)


def _rates(timeline: Timeline, periods: Sequence[Period], rendition: Rendition) -> tuple[int, int]:
    """(peak, average) bit rate in bits per second of the segments that ``rendition``'s playlist lists."""
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
    """EXT-X-STREAM-INF for a video rendition with its audio, or for audio alone (RFC 8216, 4.3.4.2)."""
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
        # Not while captions may still begin: players read the master playlist once, and NONE makes them ignore captions.
        attributes.append("CLOSED-CAPTIONS=NONE")
    return "#EXT-X-STREAM-INF:" + ",".join(attributes)
