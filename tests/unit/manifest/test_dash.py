import xml.etree.ElementTree as ET
from fractions import Fraction

import pytest

from streamwave.errors import MediaError, SettingsError
from streamwave.manifest.dash import duration_text, plain_text, presentation_delay_ms, render_mpd, wall_text
from streamwave.manifest.timeline import Timeline
from streamwave.storage.location import BaseUrl
from tests.unit.manifest.samples import AUDIO, CREATED_MS, FULL, SMALL, period, random_timeline, track, usual, video

NS = {"d": "urn:mpeg:dash:schema:mpd:2011"}
NOW_MS = CREATED_MS + 6_500


def parse(timeline: Timeline, **given) -> ET.Element:
    return ET.fromstring(render_mpd(timeline, now_unix_ms=NOW_MS, **given))


def listed(template: ET.Element) -> list[tuple[int, int]]:
    """(time, duration) of every segment that a player makes of a SegmentTimeline."""
    out, time = [], 0
    for run in template.findall("d:SegmentTimeline/d:S", NS):
        time = int(run.get("t", time))
        for _ in range(int(run.get("r", 0)) + 1):
            out.append((time, int(run.attrib["d"])))
            time += int(run.attrib["d"])
    return out


def test_a_running_broadcast_is_dynamic_and_tells_the_time():
    timeline = usual(ended=False)
    timeline.dvr_window_ms = 3_600_000
    root = parse(timeline, utc_timing_url="/time?a&b")
    assert {k: v for k, v in root.attrib.items() if "{" not in k} == {
        "profiles": "urn:mpeg:dash:profile:isoff-live:2011",
        "type": "dynamic",
        "availabilityStartTime": "2026-01-02T03:04:05.678Z",
        "publishTime": "2026-01-02T03:04:12.178Z",
        "minimumUpdatePeriod": "PT1S",
        "suggestedPresentationDelay": "PT8S",
        "timeShiftBufferDepth": "PT3600S",
        "minBufferTime": "PT2S",
        "maxSegmentDuration": "PT3S",
    }
    assert [(e.get("schemeIdUri"), e.get("value")) for e in root.findall("d:UTCTiming", NS)] == [
        ("urn:mpeg:dash:utc:http-xsdate:2014", "/time?a&b"),
        ("urn:mpeg:dash:utc:direct:2014", "2026-01-02T03:04:12.178Z"),
    ]
    reference = root.find(".//d:AdaptationSet[@contentType='video']/d:ProducerReferenceTime", NS)
    assert reference is not None and reference.get("wallClockTime") == "2026-01-02T03:04:05.678Z"
    assert reference.get("presentationTime") == "0"
    # What comes is not known: at least what the ladder allows.
    rates = {e.get("id"): e.get("bandwidth") for e in root.iterfind(".//d:Representation", NS)}
    assert rates == {"720p": "2800000", "360p": "800000", "audio": "128000"}


def test_a_recorded_broadcast_is_static_and_no_clock_is_left_to_ask():
    root = parse(usual(ended=True), utc_timing_url="/time")
    assert root.get("type") == "static" and root.get("mediaPresentationDuration") == "PT5.014333S"
    assert root.get("availabilityStartTime") == "2026-01-02T03:04:05.678Z"
    assert root.find("d:UTCTiming", NS) is None
    assert not {"minimumUpdatePeriod", "timeShiftBufferDepth", "suggestedPresentationDelay"} & set(root.attrib)


@pytest.mark.parametrize("seed", range(60))
def test_players_reconstruct_exactly_what_was_published(seed):
    timeline = random_timeline(seed)
    root = parse(timeline)
    elements = root.findall("d:Period", NS)
    assert [e.get("id") for e in elements] == [p.name for p in timeline.periods]
    for element, published in zip(elements, timeline.periods, strict=True):
        assert element.get("start") == duration_text(published.start)
        seen = {}
        for group in element.findall("d:AdaptationSet", NS):
            template = group.find("d:SegmentTemplate", NS)
            assert template is not None
            for representation in group.findall("d:Representation", NS):
                seen[representation.attrib["id"]] = (int(template.attrib["timescale"]), listed(template))
        assert seen == {n: (t.timescale, [s[:2] for s in t.segments]) for n, t in published.tracks.items()}
    assert elements[-1].get("duration") is None
    for element, one, two in zip(elements, timeline.periods, timeline.periods[1:], strict=False):
        pause = duration_text(one.start + one.duration) != duration_text(two.start)
        assert element.get("duration") == (duration_text(one.duration) if pause else None)


def test_periods_start_and_end_exactly():
    one = period("a", 0, track(FULL, [10]))  # 10 * 1001 / 30000 s = 0.33366666…
    two = period("b", one.duration, track(FULL, [10]))
    root = parse(Timeline(CREATED_MS, 2000, [one, two], ended=True))
    assert [(e.get("start"), e.get("duration")) for e in root.findall("d:Period", NS)] == [
        ("PT0S", None),
        ("PT0.333666S", None),
    ]
    assert root.get("mediaPresentationDuration") == "PT0.668333S"


def test_a_dvr_window_leaves_the_timeline_where_it_is_until_the_end():
    timeline = Timeline(CREATED_MS, 2000, [period("a", 0, track(FULL, [60] * 5), track(AUDIO, [94] * 5))])
    timeline.dvr_window_ms = 4_004
    timeline.trim()
    element = parse(timeline).find("d:Period", NS)
    assert element is not None and element.get("start") == "PT0S"
    template = element.find("d:AdaptationSet/d:SegmentTemplate", NS)
    assert template is not None and template.get("presentationTimeOffset") is None
    assert listed(template) == [(180180, 60060), (240240, 60060)]
    timeline.ended = True
    root = parse(timeline)
    element = root.find("d:Period", NS)
    # The period begins where its first segment lies, which is where it lay before.
    assert element is not None and element.get("start") == "PT6.006S"
    offsets = [e.get("presentationTimeOffset") for e in element.iterfind(".//d:SegmentTemplate", NS)]
    assert offsets == ["180180", "288288"]
    assert root.get("mediaPresentationDuration") == "PT10.027666S"


def test_a_period_that_has_just_begun_is_not_listed():
    timeline = usual(ended=False)
    timeline.periods.append(period("p1", 30, track(FULL, [])))
    assert [e.get("id") for e in parse(timeline).findall("d:Period", NS)] == ["p0"]


def test_only_audio_and_only_video():
    for rendition, kind in ((AUDIO, "audio"), (FULL, "video")):
        root = parse(Timeline(CREATED_MS, 2000, [period("p0", 0, track(rendition, [90, 90]))], ended=True))
        assert [e.get("contentType") for e in root.iterfind(".//d:AdaptationSet", NS)] == [kind]
        assert root.get("mediaPresentationDuration") == {"audio": "PT3.841S", "video": "PT6.007S"}[kind]


def test_renditions_of_half_the_frame_rate_have_a_template_of_their_own():
    half = track(SMALL, [30, 30], rate=Fraction(15))
    half.timescale = 7500
    half.segments = [s._replace(time=s.time // 2, duration=s.duration // 2) for s in half.segments]
    one = period("p0", 0, track(FULL, [60, 60], rate=Fraction(30)), half)
    root = parse(Timeline(CREATED_MS, 2000, [one], ended=True))
    assert root.find(".//d:AdaptationSet/d:SegmentTemplate", NS) is None
    templates = root.findall(".//d:Representation/d:SegmentTemplate", NS)
    assert [listed(t) for t in templates] == [[(0, 60000), (60000, 60000)], [(0, 15000), (15000, 15000)]]


@pytest.mark.parametrize("other", [[60, 60], [60, 59, 31], []])
def test_unequal_boundaries_are_refused(other):
    timeline = Timeline(CREATED_MS, 2000, [period("p0", 0, track(FULL, [60, 60, 30]), track(SMALL, other))])
    with pytest.raises(MediaError, match="p0: segment boundaries of 360p differ from those of 720p"):
        parse(timeline)


def test_nothing_published_is_no_manifest():
    for periods in ([], [period("p0", 0)], [period("p0", 0, track(FULL, []))]):
        with pytest.raises(MediaError, match="no segment yet"):
            parse(Timeline(CREATED_MS, 2000, periods))


def test_portrait_and_odd_proportions():
    tall = video("tall", 1280, 1).model_copy(update={"width": 720})
    element = parse(Timeline(CREATED_MS, 2000, [period("p0", 0, track(tall, [60]))])).find(".//d:AdaptationSet", NS)
    assert element is not None
    assert (element.get("par"), element.get("maxWidth"), element.get("maxHeight")) == ("9:16", "720", "1280")


def test_base_urls():
    bases = [BaseUrl("https://a.example/x", "cdn-a", weight=3), BaseUrl("https://b.example/", priority=2)]
    root = parse(usual(ended=True), base_urls=bases)
    dvb = "{urn:dvb:dash:dash-extensions:2014-1}"
    found = [
        (e.text, e.get("serviceLocation"), e.get(dvb + "priority"), e.get(dvb + "weight"))
        for e in root.findall("d:BaseURL", NS)
    ]
    assert found == [("https://a.example/x/", "cdn-a", "1", "3"), ("https://b.example/", "location-2", "2", "1")]
    with pytest.raises(SettingsError, match="percent-encode"):
        BaseUrl('https://a.example/"x')


def test_the_delay_follows_the_lag_in_whole_segments():
    timeline = usual(ended=False)
    ends_ms = CREATED_MS + 5_013  # the audio is the longest track
    lags = {lag_ms: presentation_delay_ms(timeline, ends_ms + lag_ms) for lag_ms in (-9000, 0, 1700, 2000, 2001, 9000)}
    assert lags == {-9000: 8000, 0: 8000, 1700: 8000, 2000: 8000, 2001: 10000, 9000: 16000}
    assert parse(timeline, delay_ms=12_500).get("suggestedPresentationDelay") == "PT12.5S"


def test_the_delay_bridges_the_chunks_of_rare_keyframes():
    """OBS's default of a keyframe every 8.3 s: nothing new comes for that long, and then all of it at once."""
    timeline = usual(ended=False)
    now_ms = CREATED_MS + 5_013 + 1_500
    delays = {}
    for pictures in (50, 60, 74, 100, 208):
        timeline.periods[-1].longest_chunk = Fraction(pictures, 25)
        delays[pictures] = presentation_delay_ms(timeline, now_ms)
    assert delays == {50: 8000, 60: 8000, 74: 8000, 100: 10000, 208: 14000}
    # Just before the next chunk the newest segment is that old.
    assert delays[208] > 8_320 + 1_500 + 1_000


def test_texts_of_times():
    assert duration_text(Fraction(1001, 30)) == "PT33.366666S"
    assert duration_text(Fraction(10**9) + Fraction(1, 10)) == "PT1000000000.1S"
    assert [duration_text(Fraction(n)) for n in (0, 10, 100)] == ["PT0S", "PT10S", "PT100S"]
    assert wall_text(0) == "1970-01-01T00:00:00.000Z"
    assert wall_text(1_767_323_045_007) == "2026-01-02T03:04:05.007Z"


def test_text_keeps_what_people_write():
    assert plain_text("a\x00\x1b[1m\ud800b\r\n c\t\u0085\uffffé 👩‍🚀") == "a[1mb c é 👩‍🚀"
