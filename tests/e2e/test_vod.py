"""A file through the real command line to a player: every frame and every audio sample arrives, in sync."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamwave.ffmpeg.locate import locate
from streamwave.mp4 import read_fragment, read_init, split_file, starts_with_idr
from streamwave.mp4.boxes import iter_boxes, need
from streamwave.timing import AAC_FRAME, Grid
from tests.support.cli import LADDER, Cli, copy_database
from tests.support.media import FLASH_FRAMES, QUIET, Clip, make_clip
from tests.support.player import (
    MPD_NS,
    Representation,
    Sound,
    attributes,
    decode_pictures,
    decode_sound,
    load_mpd,
    playlist_addresses,
    playlist_tags,
    representations,
)

SYNC = Fraction(10, 1000)
VIDEO: dict[str, dict[str, Any]] = {rung["name"]: rung for rung in LADDER["rungs"]}  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Stream:
    """A clip and its result."""

    clip: Clip
    root: Path
    out: str
    renditions: dict[str, Representation]

    @property
    def videos(self) -> list[Representation]:
        return [r for r in self.renditions.values() if r.kind == "video"]

    @property
    def grid(self) -> Grid:
        return Grid(self.clip.rate)

    def sound(self) -> Sound:
        return decode_sound(self.renditions["audio"].data)


@pytest.fixture(
    scope="module",
    params=[(Fraction(25), 230, "own"), (Fraction(30000, 1001), 200, "shared")],
    ids=["25 fps", "29.97 fps"],
)
def stream(request, tmp_path_factory, prefect_api, prefect_home) -> Stream:
    """The first clip is transcoded with a temporary Prefect server of the command, the second with a running one."""
    rate, frames, server = request.param
    folder = tmp_path_factory.mktemp("vod")
    clip = make_clip(folder / "clip.mp4", rate, frames)
    cli = Cli(folder, {"PREFECT_API_URL": prefect_api} if server == "shared" else {})
    if server == "own":
        copy_database(prefect_home, cli.state / "prefect")
    done = cli.run("transcode", "clip.mp4", "--output", "out")
    assert (done.code, done.err[-3000:]) == (0, "")
    assert cli.leftovers() == []
    return Stream(clip, folder / "out", done.out, representations(folder / "out"))


def test_says_what_was_written_and_how_to_watch_it(stream: Stream) -> None:
    assert "large, small, audio" in stream.out
    assert "out/manifest.mpd" in stream.out and "out/master.m3u8" in stream.out


def test_every_picture_once_in_order_and_on_the_grid(stream: Stream) -> None:
    assert set(VIDEO) == {video.name for video in stream.videos}
    for video in stream.videos:
        pictures = decode_pictures(video.data, stream.grid.timescale)
        assert [p.number for p in pictures] == list(range(stream.clip.frames)), video.name
        assert [p.time for p in pictures] == [stream.grid.ticks(n) for n in range(stream.clip.frames)], video.name


def test_every_segment_decodes_alone(stream: Stream) -> None:
    for video in stream.videos:
        numbers = []
        for segment in video.segments:
            pictures = decode_pictures(video.init + segment.data, stream.grid.timescale)
            assert pictures[0].time == segment.time
            assert len(pictures) * stream.grid.frame_ticks == segment.duration
            numbers += [p.number for p in pictures]
        assert numbers == list(range(stream.clip.frames))


def test_sound_is_as_long_as_the_source(stream: Stream) -> None:
    sound = stream.sound()
    assert (sound.rate, sound.start) == (48000, 0)
    assert 0 <= len(sound.samples) - stream.clip.samples < AAC_FRAME


def test_sound_has_no_hole_and_no_click_at_the_seams(stream: Stream) -> None:
    sound = stream.sound()
    # Windows of 20 ms over the whole length, except those that touch a beep; the tone has about the same power in all.
    length = sound.rate // 50
    body = sound.samples[: stream.clip.samples // length * length].reshape(-1, length)
    quiet = [window for window in body if np.abs(window).max() < 4 * QUIET]
    assert len(quiet) > len(body) * 3 // 4
    power = np.array([float(np.sqrt(np.mean(window**2))) for window in quiet])
    usual = float(np.median(power))
    assert usual > QUIET / 4
    # The two channels' tones beat against each other, so the power swings; a hole or a click goes far beyond.
    assert power[1:-1].min() > usual / 3 and power[1:-1].max() < usual * 3


def test_sound_and_picture_are_in_sync_from_start_to_end(stream: Stream) -> None:
    beeps = stream.sound().beeps()
    due = stream.clip.flashes()
    for video in stream.videos:
        pictures = decode_pictures(video.data, stream.grid.timescale)
        assert sum(p.flashes for p in pictures) == FLASH_FRAMES * len(due)
        flashes = [
            Fraction(p.time, stream.grid.timescale)
            for p, before in zip(pictures, [None, *pictures], strict=False)
            if p.flashes and not (before and before.flashes)
        ]
        assert flashes == due
        assert len(beeps) == len(flashes) >= 4
        assert max(abs(a - b) for a, b in zip(beeps, flashes, strict=True)) <= SYNC


def test_boundaries_are_equal_contiguous_and_what_the_boxes_say(stream: Stream) -> None:
    grids = []
    for rendition in stream.renditions.values():
        summary = read_init(rendition.init)
        assert summary.timescale == rendition.timescale
        assert rendition.timescale == (stream.grid.timescale if rendition.kind == "video" else 48000)
        place = 0
        for segment in rendition.segments:
            _, fragments = split_file(rendition.init + segment.data)
            found = [read_fragment(fragment, summary) for fragment in fragments]
            assert found[0].time == segment.time == place, segment.name
            assert sum(fragment.duration for fragment in found) == segment.duration, segment.name
            if rendition.kind == "video":
                assert starts_with_idr(fragments[0], summary), segment.name
                assert found[0].syncs == (True, *[False] * (found[0].sample_count - 1)), segment.name
                # With frame reordering, durations differ, which is allowed.
                shown = [place + number * stream.grid.frame_ticks for number in range(found[0].sample_count)]
                assert sorted(found[0].presentation_times) == shown, segment.name
                assert min(found[0].durations) > 0, segment.name
            else:
                assert set(found[0].durations) == {AAC_FRAME}
            place += segment.duration
        if rendition.kind == "video":
            grids.append([(s.time, s.duration) for s in rendition.segments])
    lengths = [
        min(stream.clip.gop, stream.clip.frames - n) * stream.grid.frame_ticks
        for n in range(0, stream.clip.frames, stream.clip.gop)
    ]
    assert [duration for _, duration in grids[0]] == lengths
    assert all(grid == grids[0] for grid in grids)
    # Audio segments end at the AAC frames nearest to the video boundaries.
    for (time, _), sound in zip(grids[0], stream.renditions["audio"].segments, strict=True):
        apart = Fraction(time, stream.grid.timescale) - Fraction(sound.time, 48000)
        assert abs(apart) <= Fraction(AAC_FRAME, 2 * 48000)


@pytest.mark.parametrize("name", ["manifest.mpd", "master.m3u8"])
def test_ffmpeg_decodes_every_rendition_in_silence(stream: Stream, name: str) -> None:
    # Run in the stream's folder, because FFmpeg 5 resolves URLs of a local manifest relative to the working folder.
    command = [locate().path, "-nostdin", "-hide_banner", "-v", "warning", "-i", name, "-map", "0", "-f", "null", "-"]
    done = subprocess.run(command, cwd=stream.root, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_manifest_says_what_is_there(stream: Stream) -> None:
    mpd = load_mpd(stream.root)
    seconds = max(
        Fraction(r.segments[-1].time + r.segments[-1].duration, r.timescale) for r in stream.renditions.values()
    )
    assert mpd.get("type") == "static"
    assert "urn:mpeg:dash:profile:isoff-live:2011" in mpd.attrib["profiles"].split(",")
    stated = Fraction(mpd.attrib["mediaPresentationDuration"].removeprefix("PT").removesuffix("S"))
    # A millisecond longer, for dash.js, and truncated to microseconds.
    assert Fraction(-1, 1_000_000) < stated - seconds - Fraction(1, 1000) <= 0
    sets = mpd.findall("mpd:Period/mpd:AdaptationSet", MPD_NS)
    assert [s.get("contentType") for s in sets] == ["video", "audio"]
    assert {s.get("segmentAlignment") for s in sets} == {"true"} and {s.get("startWithSAP") for s in sets} == {"1"}
    for video in stream.videos:
        assert Fraction(video.attributes["frameRate"]) == stream.clip.rate
        height = int(VIDEO[video.name]["short_side"])
        assert (int(video.attributes["width"]), int(video.attributes["height"])) == (height * 16 // 9, height)
        avcc = need(video.init, "moov/trak/mdia/minf/stbl/stsd").payload
        stored = video.init[video.init.index(b"avcC", avcc) + 4 :][1:4]
        assert video.attributes["codecs"] == f"avc1.{stored.hex().upper()}"
        assert stored[0] == 100, "the profile is not High"
    assert stream.renditions["audio"].attributes["codecs"] == "mp4a.40.2"
    buffer_s = Fraction(mpd.attrib["minBufferTime"].removeprefix("PT").removesuffix("S"))
    for rendition in stream.renditions.values():
        # The definition of @bandwidth (ISO/IEC 23009-1, 5.3.5.2): a client that receives at this rate, and starts to play at
        # any segment after minBufferTime, has every segment completely when it is needed.
        needed = Fraction(0)
        for first, begin in enumerate(rendition.segments):
            bits = 0
            for segment in rendition.segments[first:]:
                bits += len(segment.data) * 8
                until = buffer_s + Fraction(segment.time - begin.time, rendition.timescale)
                needed = max(needed, bits / until)
        assert needed <= int(rendition.attributes["bandwidth"]) < needed + 2, rendition.name
    for video in stream.videos:
        bits = sum(len(s.data) for s in video.segments) * 8
        assert bits / seconds <= int(VIDEO[video.name]["max_kbps"]) * 1000


def test_hls_names_the_same_segments(stream: Stream) -> None:
    master = (stream.root / "master.m3u8").read_text()
    tags = playlist_tags(master)
    assert master.startswith("#EXTM3U\n") and "EXT-X-INDEPENDENT-SEGMENTS" in tags
    variants = dict(zip(playlist_addresses(master), map(attributes, tags["EXT-X-STREAM-INF"]), strict=True))
    (sound,) = map(attributes, tags["EXT-X-MEDIA"])
    assert set(variants) == {f"{video.name}.m3u8" for video in stream.videos} and sound["URI"] == "audio.m3u8"
    target_s = int(playlist_tags((stream.root / "large.m3u8").read_text())["EXT-X-TARGETDURATION"][0])
    for video in stream.videos:
        variant = variants[f"{video.name}.m3u8"]
        assert variant["CODECS"].split(",") == [video.attributes["codecs"], "mp4a.40.2"]
        assert variant["RESOLUTION"] == f"{video.attributes['width']}x{video.attributes['height']}"
        assert variant["FRAME-RATE"] == f"{float(stream.clip.rate):.3f}"
        both = [stream.renditions["audio"], video]
        peak = sum(peak_rate(r, target_s) for r in both)
        assert peak <= int(variant["BANDWIDTH"]) < peak + 3
        mean = sum(Fraction(len(r.data) - len(r.init)) * 8 * r.timescale / r.segments[-1].time_end for r in both)
        assert mean <= int(variant["AVERAGE-BANDWIDTH"]) < mean + 3
    for rendition in stream.renditions.values():
        text = (stream.root / f"{rendition.name}.m3u8").read_text()
        media = playlist_tags(text)
        assert playlist_addresses(text) == [segment.name for segment in rendition.segments]
        assert "EXT-X-ENDLIST" in media and media["EXT-X-PLAYLIST-TYPE"] == ["VOD"]
        assert (stream.root / attributes(media["EXT-X-MAP"][0])["URI"]).read_bytes() == rendition.init
        for value, segment in zip(media["EXTINF"], rendition.segments, strict=True):
            exact = Fraction(segment.duration, rendition.timescale)
            assert abs(Fraction(value.split(",")[0]) - exact) < Fraction(1, 10000)
            assert exact <= int(media["EXT-X-TARGETDURATION"][0]) + Fraction(1, 2)


def peak_rate(rendition: Representation, target_s: int) -> Fraction:
    """Peak segment bit rate (RFC 8216, 4.1): the maximum over all sequences of segments of 0.5 to 1.5 target durations."""
    rates = []
    for first in range(len(rendition.segments)):
        for last in range(first, len(rendition.segments)):
            run = rendition.segments[first : last + 1]
            seconds = Fraction(run[-1].time_end - run[0].time, rendition.timescale)
            if Fraction(target_s, 2) <= seconds <= Fraction(3 * target_s, 2):
                rates.append(sum(len(s.data) for s in run) * 8 / seconds)
    return max(rates)


def test_nothing_lies_about_that_no_manifest_names(stream: Stream) -> None:
    named = {"manifest.mpd", "master.m3u8", "ledger/000000.jsonl", "ledger/writer.json"}
    for rendition in stream.renditions.values():
        named |= {f"{rendition.name}.m3u8", f"p0/{rendition.name}/init.mp4", *(s.name for s in rendition.segments)}
    assert {str(p.relative_to(stream.root)) for p in stream.root.rglob("*") if p.is_file()} == named


def test_segments_are_cmaf(stream: Stream) -> None:
    for rendition in stream.renditions.values():
        assert [box.type for box in iter_boxes(rendition.init)] == ["ftyp", "moov"]
        for segment in rendition.segments:
            assert [box.type for box in iter_boxes(segment.data)] == ["styp", "moof", "mdat"], segment.name
