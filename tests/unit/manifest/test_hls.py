import re
from fractions import Fraction

import pytest

from streamwave.errors import LadderError, MediaError
from streamwave.manifest.hls import playlist_renditions, render_master, render_media, target_duration_s
from streamwave.manifest.timeline import Timeline
from streamwave.storage.location import BaseUrl
from tests.unit.manifest.samples import AUDIO, CREATED_MS, FULL, SMALL, period, random_timeline, track, usual, video


def media(timeline: Timeline, name: str) -> str:
    return render_media(timeline, name).decode()


def master(timeline: Timeline, **given) -> str:
    return render_master(timeline, **given).decode()


def test_a_playlist_only_grows():
    timeline = usual(ended=False)
    before = media(timeline, "audio")
    timeline.periods[0].tracks["audio"].append(timeline.periods[0].tracks["audio"].segments[-1]._replace(time=240640))
    assert media(timeline, "audio") == before + "#EXTINF:1.002667,\np0/audio/240640.m4s\n"


def test_a_rendition_that_a_period_lacks_has_a_stand_in():
    timeline = usual(ended=True)
    mid = video("480p", 480, 1_400_000)
    timeline.periods.append(period("p1", 9, track(SMALL, [60]), track(mid, [60]), track(AUDIO, [94])))
    assert [r.name for r in playlist_renditions(timeline)] == ["720p", "360p", "audio", "480p"]
    tails = {name: re.findall(r"^p\d/\w+", media(timeline, name), re.M) for name in ("720p", "480p", "360p", "audio")}
    assert tails["720p"] == ["p0/720p"] * 3 + ["p1/480p"]
    assert tails["480p"] == ["p0/360p"] * 3 + ["p1/480p"]
    assert tails["360p"] == ["p0/360p"] * 3 + ["p1/360p"]
    assert '#EXT-X-MAP:URI="p1/480p/init.mp4"' in media(timeline, "720p")
    # A variant declares the codecs of all that its playlist lists.
    assert 'CODECS="avc1.64001f,avc1.42c01e,mp4a.40.2"' in master(timeline)


def test_captions_may_begin_while_a_broadcast_runs():
    """CLOSED-CAPTIONS=NONE promises that there are none; what is not said, players find out (RFC 8216, 4.3.4.2)."""
    assert "CLOSED-CAPTIONS" not in master(usual(ended=False))
    assert master(usual(ended=True)).count("CLOSED-CAPTIONS=NONE") == 2
    running = usual(ended=False)
    running.periods[-1].captions = True
    assert master(running).count('CLOSED-CAPTIONS="captions"') == 2 and "NONE" not in master(running)


def test_playback_starts_in_the_middle_of_a_high_ladder():
    ladder = [video("1080p", 1080, 5_000_000), FULL, SMALL]
    timeline = Timeline(CREATED_MS, 2000, [period("p0", 0, *(track(r, [60]) for r in ladder))])
    assert re.findall(r"^\w+\.m3u8", master(timeline), re.M) == ["720p.m3u8", "1080p.m3u8", "360p.m3u8"]


def test_redundant_variants():
    bases = [BaseUrl("https://a.example/x"), BaseUrl("https://b.example")]
    text = master(usual(ended=True), base_urls=bases)
    assert re.findall(r"^https.*", text, re.M) == [
        f"https://{host}/{name}.m3u8" for host in ("a.example/x", "b.example") for name in ("720p", "360p")
    ]
    assert re.findall(r'GROUP-ID="([^"]*)".*URI="([^"]*)"', text) == [
        ("audio", "https://a.example/x/audio.m3u8"),
        ("audio-2", "https://b.example/audio.m3u8"),
    ]
    assert re.findall(r'AUDIO="([^"]*)"', text) == ["audio", "audio", "audio-2", "audio-2"]


def reconstruct(text: str, timescale: dict[str, int]) -> list[list[tuple[int, int]]]:
    """Per discontinuity the (time, duration) in ticks of its segments: start from the name, edges from EXTINF sums."""
    periods: list[list[tuple[int, int]]] = []
    for part in text.split("#EXT-X-DISCONTINUITY\n"):
        edge_us, out = None, []
        for extinf, folder, time in re.findall(r"#EXTINF:([\d.]+),\n(\w+)/\w+/(\d+)\.m4s", part):
            scale = timescale[folder]
            edge_us = Fraction(int(time) * 1_000_000, scale) if edge_us is None else edge_us
            start = round(edge_us * scale / 1_000_000)
            edge_us += Fraction(extinf) * 1_000_000
            assert start == int(time)
            out.append((start, round(edge_us * scale / 1_000_000) - start))
        periods.append(out)
    return periods


@pytest.mark.parametrize("seed", range(60))
def test_players_reconstruct_exactly_what_was_published(seed):
    timeline = random_timeline(seed)
    for name in ("720p", "360p", "audio"):
        text = media(timeline, name)
        scales = {p.name: p.tracks[name].timescale for p in timeline.periods}
        assert reconstruct(text, scales) == [[s[:2] for s in p.tracks[name].segments] for p in timeline.periods]
        longest = max(Fraction(x) for x in re.findall(r"#EXTINF:([\d.]+)", text))
        assert int(longest + Fraction(1, 2)) <= target_duration_s(timeline)
        assert text.count("#EXT-X-PROGRAM-DATE-TIME") == sum(p.wall_unix_ms is not None for p in timeline.periods)


def test_a_dvr_window_keeps_every_number_of_a_segment():
    """As the window slides, a segment's media and discontinuity sequence number, length and date never change."""
    whole = Timeline(CREATED_MS, 2000, [], dvr_window_ms=9_000)
    known: dict[str, dict[str, tuple[int, int, str]]] = {"720p": {}, "360p": {}, "audio": {}}
    heads = set()
    for number in range(5):
        # The third period lacks audio, the fourth the upper rendition.
        renditions = [r for r in (FULL, SMALL, AUDIO) if (number, r.name) not in ((2, "audio"), (3, "720p"))]
        start = whole.duration + number % 2
        whole.periods.append(period(f"p{number}", start, *(track(r, []) for r in renditions), wall_unix_ms=CREATED_MS))
        for count in range(1, 5):
            for rendition in renditions:
                frames = 94 if rendition is AUDIO else 60
                full = track(rendition, [frames] * count)
                whole.periods[-1].tracks[rendition.name].append(full.segments[-1])
            whole.trim()
            for name, numbers in known.items():
                if not any(name in p.tracks for p in whole.periods) and name not in whole.gone_renditions:
                    continue
                text = media(whole, name)
                media_number = int(re.findall(r"MEDIA-SEQUENCE:(\d+)", text)[0])
                discontinuity = int(re.findall(r"DISCONTINUITY-SEQUENCE:(\d+)", text)[0])
                assert "PLAYLIST-TYPE" not in text and "#EXT-X-TARGETDURATION:3\n" in text
                heads.add((name, media_number, discontinuity))
                for tag, extinf, uri in re.findall(r"^(#EXT-X-DISCONTINUITY$)|^#EXTINF:([\d.]+),\n(\S+)", text, re.M):
                    if tag:
                        discontinuity += 1
                        continue
                    place = (media_number, discontinuity, extinf)
                    assert numbers.setdefault(uri, place) == place
                    assert uri.startswith(f"p{discontinuity}/")
                    media_number += 1
    # All 20 chunks had a number of their own in each playlist, and the head moved on.
    assert {name: sorted(n[0] for n in numbers.values()) for name, numbers in known.items()} == dict.fromkeys(
        known, list(range(20))
    )
    assert max(heads)[2] >= 3


def test_the_target_duration_never_changes():
    lengths_s = {1000: 2, 1500: 3, 2000: 3, 3000: 5, 4000: 6, 6000: 9}
    for segment_ms, expected in lengths_s.items():
        timeline = Timeline(CREATED_MS, segment_ms, [period("p0", 0, track(FULL, [1]))], dvr_window_ms=10_000)
        assert target_duration_s(timeline) == expected
        # The longest chunk that is not split: just under one and a half segments.
        timeline.periods[0].tracks["720p"] = track(FULL, [int(Fraction(3, 2) * segment_ms / 1000 * 30000 / 1001)])
        assert target_duration_s(timeline) == expected
    # One that is too long raises it, also after it has left the window.
    timeline = Timeline(CREATED_MS, 2000, [period("p0", 0, track(FULL, [150] + [60] * 9))], dvr_window_ms=6_000)
    assert target_duration_s(timeline) == 5
    timeline.trim()
    assert len(timeline.periods[0].tracks["720p"].segments) == 3
    assert target_duration_s(timeline) == 5


def test_players_stay_behind_the_chunks_of_rare_keyframes():
    """OBS's default of a keyframe every 8.3 s: nothing new comes for that long, and then all of it at once."""
    timeline = usual(ended=False)
    found = {}
    for pictures in (0, 50, 75, 76, 100, 208):
        timeline.periods[0].longest_chunk = Fraction(pictures, 25)
        heads = [media(timeline, name).partition("#EXTINF")[0] for name in ("720p", "360p", "audio")]
        lines = {line for head in heads for line in head.splitlines() if "SERVER-CONTROL" in line}
        assert len(lines) <= 1 and all(head.count("SERVER-CONTROL") == len(lines) for head in heads)
        found[pictures] = "".join(lines)
    tag = "#EXT-X-SERVER-CONTROL:HOLD-BACK="
    assert found == {0: "", 50: "", 75: "", 76: f"{tag}10.0", 100: f"{tag}10.0", 208: f"{tag}15.0"}
    assert "#EXT-X-VERSION:7\n" in media(timeline, "720p") and target_duration_s(timeline) == 3

    # The publisher comes back, and its first chunk is not there yet; then it is a short one.
    again = period("p1", 9, track(FULL, []), track(SMALL, []), track(AUDIO, []))
    timeline.periods.append(again)
    assert f"{tag}15.0\n" in media(timeline, "720p")
    again.longest_chunk = Fraction(2)
    assert f"{tag}15.0\n" in media(timeline, "720p")

    timeline.ended = True
    assert "SERVER-CONTROL" not in media(timeline, "720p")


def test_impossible_requests():
    with pytest.raises(LadderError, match="no period has a rendition '144p'"):
        media(usual(ended=True), "144p")
    empty = Timeline(CREATED_MS, 2000, [period("p0", 0, track(FULL, []))])
    with pytest.raises(MediaError, match="no segment yet"):
        media(empty, "720p")
    with pytest.raises(MediaError, match="no segment yet"):
        master(empty)
