"""The DASH manifest: an MPD of the isoff-live profile (ISO/IEC 23009-1, 8.4) as a pure function of (timeline, now).

Segments are addressed by $Time$ with a SegmentTimeline, so the MPD lists exactly what has been published. It follows
the DASH-IF guidelines ("IOP" v4.3 and the restricted timing model). It does not claim the CMAF profile, whose constraints
on the objects an MPD cannot guarantee, and which no player requires.

Times: Period@start and durations are decimal seconds, truncated (not rounded) to microseconds. So a period is up to a
microsecond shorter than its media, never longer: segments cover all of it, as the timing model requires. Only the end of
a static presentation is stated slightly too late (``TAIL``).
"""

from __future__ import annotations

import unicodedata
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import gcd
from typing import Literal

from streamwave import layout
from streamwave.errors import MediaError
from streamwave.manifest.memo import Memo
from streamwave.manifest.rates import RECENT_SEGMENTS, buffered_bps
from streamwave.manifest.timeline import Period, Timeline, Track
from streamwave.storage.location import BaseUrl

PROFILE = "urn:mpeg:dash:profile:isoff-live:2011"
NAMESPACE = "urn:mpeg:dash:schema:mpd:2011"

#: mediaPresentationDuration exceeds the media by this many seconds. At the stated end, dash.js 5.2 does not wait for the
#: browser's "ended" event: it seeks to the end itself, is sent back half a second, and stalls there forever.
TAIL = Fraction(1, 1000)

#: AdaptationSet@id, the same in all periods, so that players match adaptation sets across periods.
ADAPTATION_SET_IDS = {"video": "1", "audio": "2"}

#: ChannelConfiguration of ISO/IEC 23003-3 by channel count, where the two differ.
CHANNEL_CONFIGURATIONS = {8: 7}


def duration_text(seconds: Fraction) -> str:
    """``seconds`` >= 0 as xs:duration, truncated to microseconds: Fraction(1001, 30) is "PT33.366666S"."""
    whole, rest = divmod(seconds.numerator * 1_000_000 // seconds.denominator, 1_000_000)
    return f"PT{whole}.{rest:06d}".rstrip("0").rstrip(".") + "S" if rest else f"PT{whole}S"


def wall_text(unix_ms: int) -> str:
    """A wall-clock time in milliseconds since 1970 as xs:dateTime, in UTC with milliseconds.

    Raises:
        MediaError: its year does not have four digits.
    """
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=unix_ms)
    except OverflowError:
        raise MediaError(
            f"{unix_ms} ms since 1970 is not a valid date; set the clock, or remove the broadcast"
        ) from None
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{unix_ms % 1000:03d}Z"


def plain_text(text: str) -> str:
    """``text`` on one line, without what XML 1.0 cannot represent: control characters, surrogates, unassigned code points."""
    return "".join(c for c in " ".join(text.split()) if unicodedata.category(c) not in ("Cc", "Cs", "Cn"))


def presentation_delay_ms(timeline: Timeline, now_unix_ms: int) -> int:
    """How far behind the wall clock a player that joins now should play, in milliseconds.

    A manifest is rendered when a segment has just been published, so the media's lag behind the wall clock is measured at
    that moment and rounded up to whole segments. Added are the time until the next segment (a whole chunk, if keyframes
    are rare), one segment for polling and fetching, and one in reserve.
    """
    lag_ms = now_unix_ms - timeline.created_unix_ms - int(timeline.duration * 1000)
    chunk_ms = int(timeline.periods[-1].longest_chunk * 1000)
    until_next = max(round(Fraction(chunk_ms, timeline.segment_ms)), 1)
    return (max(-(-lag_ms // timeline.segment_ms), 1) + until_next + 2) * timeline.segment_ms


def render_mpd(
    timeline: Timeline,
    *,
    now_unix_ms: int,
    utc_timing_url: str | None = None,
    utc_timing_scheme: Literal["http-xsdate", "http-iso", "http-head"] = "http-xsdate",
    delay_ms: int | None = None,
    base_urls: Sequence[BaseUrl] = (),
    location: str | None = None,
    memo: Memo | None = None,
) -> bytes:
    """Render the MPD of ``timeline`` as UTF-8: dynamic while the broadcast is live, static once it has ended.

    ``now_unix_ms`` becomes publishTime and the players' clock (UTCTiming "direct"). If ``utc_timing_url`` is given, it comes
    first, because a "direct" clock is as old as the player's copy of the manifest. ``delay_ms`` overrides
    suggestedPresentationDelay. ``location`` is where players that have this MPD request its updates (5.4). The MPD of a
    transcoded file contains no wall-clock times, and is the same whenever it is rendered. ``memo`` of earlier renderings of the
    same broadcast saves work without changing the result.

    A DVR window leaves Period@start and segment times unchanged, so the first S@t becomes greater than 0. In the static MPD
    the first period begins at its first segment instead (presentationTimeOffset), so times on the MPD timeline do not change.

    Raises:
        MediaError: nothing has been published yet (an MPD has at least one period with a segment, 5.3.1.2), or the video
            renditions of a period differ in their segment boundaries.
    """
    memo, texts = memo or Memo(), list[str]()
    memo.keep([period.name for period in timeline.periods])
    periods = [p for p in timeline.periods if any(t.segments for t in p.tracks.values())]
    if not periods:
        raise MediaError("the broadcast has no segment yet: publish its manifest after the first one")
    live_born = not timeline.ended or any(p.wall_unix_ms is not None for p in periods)
    end = periods[-1].start + periods[-1].duration
    root = ET.Element(
        "MPD",
        {
            "xmlns": NAMESPACE,
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:schemaLocation": f"{NAMESPACE} DASH-MPD.xsd",
            "profiles": PROFILE,
            "type": "static" if timeline.ended else "dynamic",
        },
    )
    if live_born:
        root.set("availabilityStartTime", wall_text(timeline.created_unix_ms))
        root.set("publishTime", wall_text(now_unix_ms))
    if timeline.ended:
        root.set("mediaPresentationDuration", duration_text(end + TAIL))
    else:
        # Segments are published at any time, so with half a segment a player polls twice per segment.
        root.set("minimumUpdatePeriod", duration_text(Fraction(max(timeline.segment_ms // 2, 500), 1000)))
        delay = Fraction(delay_ms or presentation_delay_ms(timeline, now_unix_ms), 1000)
        root.set("suggestedPresentationDelay", duration_text(delay))
        if timeline.dvr_window_ms is not None:
            root.set("timeShiftBufferDepth", duration_text(Fraction(timeline.dvr_window_ms, 1000)))
    root.set("minBufferTime", duration_text(Fraction(timeline.segment_ms, 1000)))
    # Chunks are split from one and a half segments up (timing.split_evenly).
    longest = max(timeline.longest_segment(), Fraction(3 * timeline.segment_ms, 2000))
    root.set("maxSegmentDuration", duration_text(longest))
    _add_program_information(root, timeline.info)
    _add_base_urls(root, base_urls)
    if location is not None:
        ET.SubElement(root, "Location").text = location
    for index, period in enumerate(periods):
        following = periods[index + 1] if index + 1 < len(periods) else None
        trim_start = timeline.ended and index == 0
        _add_period(root, timeline, period, following, memo, texts, trim_start=trim_start)
    if not timeline.ended:
        if utc_timing_url:
            _add_descriptor(root, "UTCTiming", f"urn:mpeg:dash:utc:{utc_timing_scheme}:2014", utc_timing_url)
        _add_descriptor(root, "UTCTiming", "urn:mpeg:dash:utc:direct:2014", wall_text(now_unix_ms))
    ET.indent(root)
    xml = _fill_in(ET.tostring(root, encoding="unicode"), texts)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{xml}\n'.encode()


def _add_descriptor(parent: ET.Element, tag: str, scheme: str, value: str) -> None:
    ET.SubElement(parent, tag, {"schemeIdUri": scheme, "value": value})


def _add_program_information(root: ET.Element, info: dict[str, str]) -> None:
    """Title becomes Title; everything else the publisher sent goes into Source as "key: value; …" (5.7)."""
    clean = {key: text for key, value in info.items() if (text := plain_text(value))}
    title = clean.pop("title", "")
    source = "; ".join(f"{plain_text(key)}: {value}" for key, value in sorted(clean.items()))
    if title or source:
        element = ET.SubElement(root, "ProgramInformation")
        for tag, text in (("Title", title), ("Source", source)):
            if text:
                ET.SubElement(element, tag).text = text


def _add_base_urls(root: ET.Element, base_urls: Sequence[BaseUrl]) -> None:
    if not base_urls:
        # Redundant, but without it FFmpeg's demuxer resolves the manifest's relative path twice.
        ET.SubElement(root, "BaseURL").text = "./"
    if len(base_urls) > 1:
        root.set("xmlns:dvb", "urn:dvb:dash:dash-extensions:2014-1")
    for number, base in enumerate(base_urls, 1):
        element = ET.SubElement(root, "BaseURL", {"serviceLocation": base.service_location or f"location-{number}"})
        if len(base_urls) > 1:
            element.set("dvb:priority", str(base.priority))
            element.set("dvb:weight", str(base.weight))
        element.text = base.url


def _add_period(
    root: ET.Element,
    timeline: Timeline,
    period: Period,
    following: Period | None,
    memo: Memo,
    texts: list[str],
    *,
    trim_start: bool,
) -> None:
    """Add a Period with one AdaptationSet per kind of media (5.3.2).

    Period@duration is only written if the next period does not begin where this one ends, that is, at a pause without media.
    ``trim_start``: the period starts at its first segment, because the DVR window has removed earlier ones. The S elements are
    appended to ``texts``.
    """
    kinds = {
        kind: [t for t in period.tracks.values() if t.rendition.kind == kind and t.segments]
        for kind in ADAPTATION_SET_IDS
    }
    lead = (kinds["video"] or kinds["audio"])[0]
    offset = Fraction(lead.segments[0].time, lead.timescale) if trim_start else Fraction(0)
    attributes = {"id": period.name, "start": duration_text(period.start + offset)}
    if following is not None:
        end = period.start + period.duration
        if duration_text(following.start) != duration_text(end):
            attributes["duration"] = duration_text(min(end, following.start) - period.start - offset)
    element = ET.SubElement(root, "Period", attributes)
    for kind, tracks in kinds.items():
        if tracks:
            expected = [t for t in period.tracks.values() if t.rendition.kind == kind]
            _check_boundaries(period, kind, expected, memo)
            _add_adaptation_set(element, timeline, period, kind, tracks, offset, memo, texts)


def _check_boundaries(period: Period, kind: str, tracks: Sequence[Track], memo: Memo) -> None:
    """Check that segment boundaries are equal, because players switch renditions there (5.3.3.2, segmentAlignment)."""
    first, names = tracks[0], [track.rendition.name for track in tracks]
    # Skip the segments that were compared for an earlier manifest.
    known = max(memo.checked(period.name, kind, names) - first.removed, 0)
    for track in tracks[1:]:
        # Track.append keeps segments contiguous, so boundaries are equal if the first start and all durations are.
        mine = [s.duration * first.timescale for s in track.segments[known:]]
        theirs = [s.duration * track.timescale for s in first.segments[known:]]
        start_differs = mine and track.segments[0].time * first.timescale != first.segments[0].time * track.timescale
        if mine != theirs or start_differs:
            raise MediaError(
                f"period {period.name}: segment boundaries of {track.rendition.name} differ from those of "
                f"{first.rendition.name}; publish a chunk only when all its renditions are complete"
            )
    memo.note_checked(period.name, kind, names, first.removed + len(first.segments))


def _add_adaptation_set(
    parent: ET.Element,
    timeline: Timeline,
    period: Period,
    kind: str,
    tracks: Sequence[Track],
    offset: Fraction,
    memo: Memo,
    texts: list[str],
) -> None:
    """Add the renditions of one kind, between which a player may switch at every segment (5.3.3)."""
    attributes = {"id": ADAPTATION_SET_IDS[kind], "contentType": kind, "mimeType": f"{kind}/mp4"}
    attributes |= {"segmentAlignment": "true", "startWithSAP": "1"}
    if kind == "audio":
        attributes["lang"] = "und"
    else:
        largest = max(tracks, key=lambda t: (t.rendition.height, t.rendition.width)).rendition
        attributes["maxWidth"] = str(max(t.rendition.width for t in tracks))
        attributes["maxHeight"] = str(max(t.rendition.height for t in tracks))
        if rates := [t.frame_rate for t in tracks if t.frame_rate is not None]:
            attributes["maxFrameRate"] = str(max(rates))
        # Pixels are square, and the largest rendition is closest to the source's aspect ratio.
        divisor = gcd(largest.width, largest.height) or 1
        attributes["par"] = f"{largest.width // divisor}:{largest.height // divisor}"
    element = ET.SubElement(parent, "AdaptationSet", attributes)
    if period.wall_unix_ms is not None:
        ET.SubElement(
            element,
            "ProducerReferenceTime",
            {
                "id": ADAPTATION_SET_IDS[kind],
                "type": "encoder",
                "wallClockTime": wall_text(period.wall_unix_ms),
                "presentationTime": "0",
            },
        )
    if kind == "video" and (period.captions if timeline.ended else period.captions_at_start):
        # Announces captions that are embedded in the video (ANSI/SCTE 214-1, 7.2). The descriptor must not appear or vanish
        # while a period is live: dash.js would take it for a different adaptation set and stop loading segments.
        _add_descriptor(element, "Accessibility", "urn:scte:dash:cc:cea-608:2015", "CC1=und")
    _add_descriptor(element, "Role", "urn:mpeg:dash:role:2011", "main")
    shared = len({t.timescale for t in tracks}) == 1
    if shared:
        texts.append(_add_segment_template(element, period, tracks[0], offset, len(texts), memo, depth=5))
    for track in sorted(tracks, key=lambda t: -t.rendition.max_bps):
        representation = _add_representation(element, timeline, track)
        if not shared:
            texts.append(_add_segment_template(representation, period, track, offset, len(texts), memo, depth=6))


def _add_representation(parent: ET.Element, timeline: Timeline, track: Track) -> ET.Element:
    """Add one rendition (5.3.5). Its id is the rendition's name, because the templates form object names with it.

    While the broadcast is live, bandwidth is at least the ladder's ``max_bps``, because later segments may reach it.
    """
    rendition = track.rendition
    measured, floor_bps = track.segments, 1
    if not timeline.ended:
        measured, floor_bps = track.segments[-RECENT_SEGMENTS:], rendition.max_bps
    attributes = {"id": rendition.name, "codecs": track.codecs}
    attributes["bandwidth"] = str(buffered_bps(measured, track.timescale, timeline.segment_ms, floor_bps))
    if rendition.kind == "video":
        attributes |= {"width": str(rendition.width), "height": str(rendition.height), "sar": "1:1"}
        if track.frame_rate is not None:
            attributes["frameRate"] = str(track.frame_rate)
    else:
        attributes["audioSamplingRate"] = str(rendition.sample_rate)
    element = ET.SubElement(parent, "Representation", attributes)
    if rendition.kind == "audio":
        configuration = CHANNEL_CONFIGURATIONS.get(rendition.channels, rendition.channels)
        scheme = "urn:mpeg:dash:23003:3:audio_channel_configuration:2011"
        _add_descriptor(element, "AudioChannelConfiguration", scheme, str(configuration))
    return element


def _add_segment_template(
    parent: ET.Element, period: Period, track: Track, offset: Fraction, number: int, memo: Memo, depth: int
) -> str:
    """Add a SegmentTemplate with a SegmentTimeline (5.3.9.6); the period starts at ``offset`` seconds of the track.

    Returns the text of the S elements, indented by ``depth`` levels. The tree gets a placeholder with their ``number`` instead,
    because most of the text comes from the cache.
    """
    attributes = {"timescale": str(track.timescale)}
    if offset:
        attributes["presentationTimeOffset"] = str(int(offset * track.timescale))
    name = period.name.replace("$", "$$")
    attributes["initialization"] = layout.init_name(name, "$RepresentationID$")
    attributes["media"] = layout.segment_name(name, "$RepresentationID$", "$Time$")
    timeline = ET.SubElement(ET.SubElement(parent, "SegmentTemplate", attributes), "SegmentTimeline")
    ET.SubElement(timeline, "S", {"n": str(number)})
    indent = "\n" + "  " * depth
    return memo.runs(period.name, track.rendition.name, indent).text(track, indent)


def _fill_in(xml: str, texts: Sequence[str]) -> str:
    """Replace the placeholders in ``xml`` by their S elements."""
    parts = []
    for number, text in enumerate(texts):
        before, _, xml = xml.partition(f'<S n="{number}" />')
        parts += [before, text]
    return "".join([*parts, xml])
