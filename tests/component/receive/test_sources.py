"""The segmenter on sources as publishers really send them: every picture comes out once, in sync with its sound."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from streamwave.errors import SourceError
from streamwave.ffmpeg.probe import probe
from streamwave.receive.segmenter import Segmenter
from streamwave.spool.journal import CONTINUED, AdviceLine, JournalReader
from streamwave.spool.options import Options
from streamwave.timing import AAC_FRAME
from tests.matrix.flv import PICTURE, SOUND, read_tags, write_tags
from tests.support.media import ffmpeg, make_clip
from tests.support.onsets import decode, onsets
from tests.support.segmented import Spool, contiguous, read, segment
from tests.support.sources import SIZE, flv_from, in_sync, joined, segment_broadcast, shown


@pytest.mark.parametrize(
    ("kind", "codec"),
    [
        ("mp4", ("libx264", "-x264-params", "open-gop=1:b-adapt=0:bframes=3:b-pyramid=normal")),
        ("ts", ("libx265", "-preset", "ultrafast", "-x265-params", "log-level=0:open-gop=1:b-adapt=0:bframes=3")),
        ("ts", ("mpeg2video", "-b:v", "1M")),
    ],
)
def test_pictures_that_are_shown_before_their_keyframe_are_not_lost(
    tmp_path: Path, kind: str, codec: tuple[str, ...]
) -> None:
    """An open GOP: leading pictures refer to the keyframe after them and to the chunk before it."""
    clip = make_clip(tmp_path / f"a.{kind}", frames=125, gop=25, size=SIZE, options=("-c:v", *codec))
    spool = segment(clip.path, tmp_path / "spool", segment_ms=1000)
    contiguous(spool)
    assert len(spool.chunks) >= 5
    assert shown(spool) == list(range(125))
    in_sync(spool)


def test_intra_refresh_has_no_places_to_cut(tmp_path: Path) -> None:
    """What is marked as a keyframe there is whole only some pictures later."""
    options = ("-bf", "0", "-x264-params", "intra-refresh=1")
    clip = make_clip(tmp_path / "a.mp4", frames=75, gop=25, size=SIZE, options=options)
    with av.open(str(clip.path)) as container:
        assert len([p for p in container.demux(video=0) if p.is_keyframe]) > 1
    spool = segment(clip.path, tmp_path / "spool", segment_ms=1000)
    assert len(spool.chunks) == 1 and shown(spool) == list(range(75))


def test_pictures_without_decoding_times_are_not_lost(tmp_path: Path) -> None:
    """Matroska and NUT do not have those of the first pictures when there are B-frames."""
    clip = make_clip(tmp_path / "a.nut", frames=50, size=SIZE, options=("-bf", "3", "-c:a", "pcm_s16le"))
    with av.open(str(clip.path)) as container:
        assert next(p.dts for p in container.demux(video=0)) is None
    assert shown(segment(clip.path, tmp_path / "spool")) == list(range(50))


@pytest.mark.parametrize(("b_frames", "gop"), [("0", 25), ("2", 25), ("5", 25), ("2", 11)])
def test_a_raw_stream_has_its_pictures_in_the_order_in_which_they_are_shown(
    tmp_path: Path, b_frames: str, gop: int
) -> None:
    clip = make_clip(tmp_path / "a.h264", frames=60, gop=gop, audio=False, size=SIZE, options=("-bf", b_frames))
    assert shown(segment(clip.path, tmp_path / "spool")) == list(range(60))


# --- clocks -----------------------------------------------------------------------------------------------------------


HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    "move",
    [
        pytest.param(lambda kind, ms: ms + 5 * HOUR_MS, id="not from zero"),
        pytest.param(lambda kind, ms: ms + 2**31 - 1500, id="past 2^31"),
        pytest.param(lambda kind, ms: ms + 2**32 - 1500, id="wrap"),
        pytest.param(lambda kind, ms: ms + (HOUR_MS if ms >= 2000 else 0), id="an hour ahead"),
        pytest.param(lambda kind, ms: ms - (2000 if ms >= 2000 else 0), id="back to zero"),
        pytest.param(
            lambda kind, ms: ms - (2000 if ms >= (2000 if kind == 9 else 2150) else 0), id="sound jumps later"
        ),
        pytest.param(
            lambda kind, ms: ms - (2000 if ms >= (2000 if kind == 9 else 1850) else 0), id="sound jumps first"
        ),
        pytest.param(
            lambda kind, ms: ms + (HOUR_MS if ms >= 1000 else 0) - (ms if ms >= 3000 else 0) % 7, id="and shaky"
        ),
        pytest.param(lambda kind, ms: ms + HOUR_MS * (ms // 1000), id="every second"),
    ],
)
def test_a_clock_that_jumps_changes_nothing(tmp_path: Path, move: Callable[[int, int], int]) -> None:
    clip = make_clip(tmp_path / "a.flv", frames=100, gop=25, size=SIZE, options=("-bf", "0"))
    source = flv_from(clip.path, tmp_path / "b.flv", move)
    spool = segment(source, tmp_path / "spool", segment_ms=1000)
    contiguous(spool)
    assert shown(spool) == list(range(100))
    in_sync(spool)
    assert abs(len(spool.sound()) - 4 * 48000 / AAC_FRAME) < 3


@pytest.mark.parametrize("ahead_ms", [HOUR_MS, -2000])
def test_a_clock_that_jumps_under_b_frames(tmp_path: Path, ahead_ms: int) -> None:
    clip = make_clip(tmp_path / "a.flv", frames=100, gop=25, size=SIZE)
    source = flv_from(clip.path, tmp_path / "b.flv", lambda kind, ms: ms + (ahead_ms if ms >= 2000 else 0))
    spool = segment(source, tmp_path / "spool", segment_ms=1000)
    contiguous(spool)
    assert shown(spool) == list(range(100))
    in_sync(spool)


@pytest.mark.parametrize("start_s", [26.5 * 3600 + 42.6, -3.0, 100.0])
def test_transport_streams_wrap_around(tmp_path: Path, start_s: float) -> None:
    """The clock of MPEG-TS has 33 bits: here it begins again in the middle of the clip, with B-frames."""
    clip = make_clip(tmp_path / "a.mp4", frames=100, gop=25, size=SIZE)
    start = 2**33 / 90000 - 1.9 if start_s > 1000 else start_s
    ffmpeg(
        "-i", str(clip.path), "-c", "copy", "-output_ts_offset", str(start), "-muxdelay", "0", str(tmp_path / "b.ts")
    )
    spool = segment(tmp_path / "b.ts", tmp_path / "spool", segment_ms=1000)
    contiguous(spool)
    assert shown(spool) == list(range(100))
    in_sync(spool)


@pytest.mark.parametrize("gap_s", [0.2, 3.0, 25.0])
def test_a_pause_stays_a_pause(tmp_path: Path, gap_s: float) -> None:
    """The picture stands still; a long one is a pause if the sound goes on all the time, as on a screen that is still."""
    clip = make_clip(tmp_path / "a.mkv", frames=50, gop=25, size=SIZE, options=("-bf", "0"))
    seconds = 2 + gap_s
    ffmpeg(
        *("-itsoffset", "0", "-i", str(clip.path), "-f", "lavfi", "-i", f"anoisesrc=a=0.01:r=48000:d={seconds}"),
        *("-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", "pcm_s16le"),
        *("-bsf:v", f"setts=ts='if(gte(N\\,25)\\,TS+{round(gap_s * 1000)}\\,TS)'", str(tmp_path / "b.mkv")),
    )
    spool = segment(tmp_path / "b.mkv", tmp_path / "spool", segment_ms=1000)
    contiguous(spool)
    places = shown(spool)
    assert [n for n in places if n is not None] == list(range(50))
    assert places[24:26] == [24, None] and places.index(25) == round((1 + gap_s) * 25)
    assert len(spool.sound()) == pytest.approx(seconds * 48000 / AAC_FRAME, abs=3)


@pytest.mark.parametrize("late_s", [0.5, -0.5])
def test_sound_that_begins_later_or_earlier_than_the_picture(tmp_path: Path, late_s: float) -> None:
    """What was together stays together: only the packets of the first half second are missing on one side."""
    clip = make_clip(tmp_path / "a.mkv", frames=100, gop=25, size=SIZE, options=("-bf", "0"))
    lost = (0, -1) if late_s < 0 else (1, late_s)
    cut = ("-bsf:v", "noise=drop='lt(n\\,25)'") if lost[0] == 0 else ("-bsf:a", "noise=drop='lt(pts\\,500)'")
    ffmpeg("-i", str(clip.path), "-c", "copy", *cut, str(tmp_path / "b.mkv"))
    spool = segment(tmp_path / "b.mkv", tmp_path / "spool", segment_ms=1000)
    contiguous(spool)
    first = 25 if late_s < 0 else 0
    assert shown(spool) == list(range(first, 100))
    if late_s < 0:
        in_sync(spool)
    else:  # the beep of the first flash is not there
        beeps = onsets(decode(spool.sound()))
        assert beeps == pytest.approx([26 / 25, 51 / 25, 76 / 25], abs=0.01)


# --- changes in mid-stream --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["flv", "ts"])
def test_another_size_is_another_session(tmp_path: Path, kind: str) -> None:
    first = make_clip(tmp_path / f"a.{kind}", frames=60, gop=25, size=SIZE)
    second = make_clip(tmp_path / f"b.{kind}", frames=50, gop=25, size="320x180")
    source = joined(first.path, second.path, tmp_path / f"c.{kind}", at_ms=2400)
    one, two = segment_broadcast(source, tmp_path / "spools")
    assert one.end is not None and (one.end.reason, one.end.error) == (CONTINUED, None)
    assert two.end is not None and (two.end.reason, two.end.error) == ("end of source", None)
    for spool, frames, width in ((one, 60, 160), (two, 50, 320)):
        contiguous(spool)
        assert shown(spool) == list(range(frames))
        in_sync(spool)
        assert spool.opened is not None and spool.opened.source.video is not None
        assert spool.opened.source.video.width == width and spool.opened.rate == 25
        assert len(spool.sound()) == pytest.approx(frames / 25 * 48000 / AAC_FRAME, abs=2)
    assert one.opened is not None and two.opened is not None
    assert two.opened.origin_unix_ms - one.opened.origin_unix_ms == 2400


def test_another_size_that_only_the_pictures_tell_is_another_session(tmp_path: Path) -> None:
    """The first ones have their parameters in the header alone, those after them with each keyframe and in no header."""
    first = read_tags(make_clip(tmp_path / "a.flv", frames=50, gop=25, size=SIZE, options=("-bf", "0")).path)
    second = read_tags(make_clip(tmp_path / "b.flv", frames=50, gop=25, size="320x180", options=("-bf", "0")).path)
    header = next(tag.body[5:] for tag in second if tag.kind == PICTURE and tag.header)
    # ISO/IEC 14496-15, 5.3.3.1.2: six bytes, then each set behind its length and their number.
    after = 8 + int.from_bytes(header[6:8], "big")
    sets = (header[8:after], header[after + 3 :][: int.from_bytes(header[after + 1 : after + 3], "big")])
    data = b"".join(len(one).to_bytes(4, "big") + one for one in sets)
    moved = [
        replace(tag, ms=tag.ms + 2000, body=tag.body[:5] + data + tag.body[5:] if tag.key else tag.body)
        for tag in second
        if not tag.header
    ]
    write_tags(tmp_path / "c.flv", [*first, *moved])
    one, two = segment_broadcast(tmp_path / "c.flv", tmp_path / "spools")
    for spool, width in ((one, 160), (two, 320)):
        assert spool.opened is not None and spool.opened.source.video is not None
        assert spool.opened.source.video.width == width
        assert shown(spool) == list(range(50))
        in_sync(spool)


@pytest.mark.parametrize(("before", "after"), [(25, 50), (30, 25)])
def test_another_rate_is_another_session(tmp_path: Path, before: int, after: int) -> None:
    """Also if nothing but the times of the pictures tells it."""
    first = make_clip(tmp_path / "a.flv", Fraction(before), 2 * before, gop=before, size=SIZE, options=("-bf", "0"))
    second = make_clip(tmp_path / "b.flv", Fraction(after), 3 * after, gop=after, size=SIZE, options=("-bf", "0"))
    source = joined(first.path, second.path, tmp_path / "c.flv", at_ms=2000)
    one, two = segment_broadcast(source, tmp_path / "spools")
    for spool, rate, seconds in ((one, before, 2), (two, after, 3)):
        contiguous(spool)
        assert spool.opened is not None and spool.opened.rate == rate
        assert shown(spool) == list(range(seconds * rate))
        in_sync(spool)


def test_half_the_rate_is_no_other_session(tmp_path: Path) -> None:
    first = make_clip(tmp_path / "a.flv", Fraction(50), 100, gop=50, size=SIZE, options=("-bf", "0"))
    second = make_clip(tmp_path / "b.flv", Fraction(25), 50, gop=25, size=SIZE, options=("-bf", "0"))
    source = joined(first.path, second.path, tmp_path / "c.flv", at_ms=2000)
    (one,) = segment_broadcast(source, tmp_path / "spools")
    places = shown(one)
    assert places[:100] == list(range(100)) and places[100::2] == list(range(50))


def test_other_sound_is_the_same_session(tmp_path: Path) -> None:
    """Another rate and other channels: all becomes 48 kHz stereo in one stream."""
    first = make_clip(tmp_path / "a.ts", frames=50, gop=25, size=SIZE)
    second = make_clip(tmp_path / "b.ts", frames=50, gop=25, size=SIZE, sample_rate=44100, channels=1)
    source = joined(first.path, second.path, tmp_path / "c.ts", at_ms=2000)
    (one,) = segment_broadcast(source, tmp_path / "spools")
    contiguous(one)
    assert shown(one) == [*range(50), *range(50)]
    in_sync(one)


def test_a_size_that_changes_where_no_session_can_follow(tmp_path: Path) -> None:
    """A file's spool has one session: a chunk ends there, so that each holds one kind of picture."""
    first = make_clip(tmp_path / "a.flv", frames=60, gop=25, size=SIZE)
    second = make_clip(tmp_path / "b.flv", frames=50, gop=25, size="320x180")
    source = joined(first.path, second.path, tmp_path / "c.flv", at_ms=2400)
    spool = segment(source, tmp_path / "spool", segment_ms=1000)
    contiguous(spool)
    assert shown(spool) == [*range(60), *range(50)]
    assert [chunk.pictures for chunk in spool.chunks] == [25, 25, 10, 25, 25]
    in_sync(spool)


# --- sound ------------------------------------------------------------------------------------------------------------


def tones(path: Path, *layouts: str, seconds: float = 2) -> Path:
    """Pictures, and an audio track of a tone for each of ``layouts``: of 500 Hz, 1000 Hz and so on, at half of full scale."""
    inputs, maps = [], []
    for n, layout in enumerate(layouts):
        channels = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
        tone = "|".join([f"0.5*sin(2*PI*{500 * (n + 1)}*t)"] * channels)
        inputs += ["-f", "lavfi", "-i", f"aevalsrc='{tone}':c={layout}:s=48000:d={seconds}"]
        maps += ["-map", f"{n + 1}:a"]
    picture = f"testsrc=size=64x36:rate=25:duration={seconds}"
    ffmpeg("-f", "lavfi", "-i", picture, *inputs, "-map", "0:v", *maps, "-c:a", "pcm_s16le", str(path))
    return path


def pitch_and_peak(spool: Spool) -> tuple[float, float]:
    """In Hz, and as a share of full scale."""
    samples = decode(spool.sound())[:, 9600:-9600]
    crossings = np.count_nonzero(np.diff(np.signbit(samples[0]))) / 2
    return crossings / samples.shape[1] * 48000, float(np.abs(samples).max())


@pytest.mark.parametrize(("track", "pitch"), [(0, 500), (1, 1000), (2, 1500), (7, 500)])
def test_the_audio_track_that_was_chosen(tmp_path: Path, track: int, pitch: int) -> None:
    source = tones(tmp_path / "a.mkv", "stereo", "mono", "stereo")
    found, _ = pitch_and_peak(segment(source, tmp_path / "spool", audio_track=track))
    assert found == pytest.approx(pitch, rel=0.01)


def undecodable(path: Path, mark: bytes, instead: bytes, *tracks: int) -> Path:
    """Write ``instead`` of each of the ``mark``s that tell the codec of the audio ``tracks`` (from 0)."""
    data = bytearray(path.read_bytes())
    places = [found.start() for found in re.finditer(re.escape(mark), data)]
    for track in tracks:
        data[places[track] : places[track] + len(mark)] = instead
        if mark == b"esds":  # what iPhones write beside AAC
            at = data.rindex(b"mp4a", 0, places[track])
            data[at : at + 4] = b"apac"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("tracks", "pitch"), [((0,), 1000), ((0, 1), 1500), ((1,), 500), ((0, 1, 2), None)])
@pytest.mark.parametrize(
    ("suffix", "mark", "instead"),
    [
        ("mp4", b"esds", b"dapa"),  # with another name of the codec, too
        ("mp4", b"stsd", b"free"),
        ("mkv", b"A_AAC", b"A_XYZ"),
    ],
)
def test_the_first_audio_track_that_can_be_decoded(
    tmp_path: Path, suffix: str, mark: bytes, instead: bytes, tracks: tuple[int, ...], pitch: int | None
) -> None:
    """Or pictures alone; either way somebody says so."""
    made = tones(tmp_path / "a.mkv", "stereo", "mono", "stereo")
    path = tmp_path / f"b.{suffix}"
    pictures = ("-f", "lavfi", "-i", "testsrc2=s=160x90:r=25:d=2", "-map", "1", "-map", "0:a", "-shortest")
    ffmpeg("-i", str(made), *pictures, "-c:v", "libx264", "-c:a", "aac", str(path))
    # With the boxes of the pictures' track first.
    first = 1 if mark == b"stsd" else 0
    undecodable(path, mark, instead, *(track + first for track in tracks))
    spool = segment(path, tmp_path / "spool")
    contiguous(spool)
    assert sum(chunk.pictures for chunk in spool.chunks) == 50
    said = [
        line.advice.text
        for line in JournalReader(spool.folder).read()
        if isinstance(line, AdviceLine) and line.advice.code == "track-undecodable"
    ]
    assert len(said) == (0 in tracks), said
    if pitch is None:
        assert "there is no audio" in said[0] and spool.opened is not None and spool.opened.source.audio is None
        return
    assert pitch_and_peak(spool)[0] == pytest.approx(pitch, rel=0.01)
    if 0 in tracks and mark != b"stsd":  # without a description nobody knows that it is a track of sound
        assert f"track {len(tracks) + 1} is used" in said[0]
        with pytest.raises(SourceError, match="there is no decoder here for its audio track 1; choose track "):
            probe(f"file:{path}", audio_track=0)


@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1"])
def test_sound_is_as_loud_as_it_was_whatever_its_channels(tmp_path: Path, layout: str) -> None:
    """Six channels that all have the same do not become louder than full scale, mono not softer."""
    _, peak = pitch_and_peak(segment(tones(tmp_path / "a.mkv", layout), tmp_path / "spool"))
    assert peak == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("lag_ms", [700, 1500, 2500])
def test_live_sound_that_always_comes_later_than_its_pictures_is_waited_for(tmp_path: Path, lag_ms: int) -> None:
    """As broadcasts send it, whose pictures are sent ahead of time and sound is not."""
    clip = make_clip(tmp_path / "a.flv", frames=200, gop=50, size=SIZE, options=("-bf", "0"))
    tags = read_tags(clip.path)
    tags.sort(key=lambda tag: tag.ms + (lag_ms if tag.kind == SOUND and not tag.header else 0))
    write_tags(tmp_path / "b.flv", tags)
    spool = segment(tmp_path / "b.flv", tmp_path / "spool", live=True)
    contiguous(spool)
    assert len(spool.chunks) == 4 and shown(spool) == list(range(200))
    in_sync(spool)


def test_live_sound_that_was_waited_for_in_vain_is_not_waited_for_again(tmp_path: Path) -> None:
    """It came late, and then no more: one chunk waits for it as long as it used to take, those after it as for any."""
    clip = make_clip(tmp_path / "a.flv", frames=300, gop=50, size=SIZE, options=("-bf", "0"))
    tags = [tag for tag in read_tags(clip.path) if tag.kind != SOUND or tag.header or tag.ms < 5000]
    tags.sort(key=lambda tag: tag.ms + (2500 if tag.kind == SOUND and not tag.header else 0))
    write_tags(tmp_path / "b.flv", tags)
    waits: list[int] = []
    segmenter = Segmenter(Options(source=f"file:{tmp_path / 'b.flv'}", spool=tmp_path / "spool", live=True))
    take = segmenter._take

    def watched(packet: av.Packet[Any]) -> None:
        take(packet)
        if packet.pts is not None and packet.stream.type == "video" and segmenter.session is not None:
            before = segmenter.session.closing
            waits.append(0 if not before else packet.pts - before[0][1])

    segmenter._take = watched  # type: ignore[method-assign]
    segmenter.run()
    spool = read(tmp_path / "spool")
    contiguous(spool)
    assert shown(spool) == list(range(300))
    ends = [wait for wait, after in zip(waits, waits[1:], strict=False) if after < wait]
    assert ends[-2:] == pytest.approx([2960, 460], abs=80)


# --- damage -----------------------------------------------------------------------------------------------------------


def test_a_stream_with_damage_in_the_middle_goes_on(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.ts", frames=100, gop=25, size=SIZE)
    data = bytearray(clip.path.read_bytes())
    middle = len(data) // 2 // 188 * 188
    data[middle : middle + 188 * 6] = bytes(188 * 6)
    (tmp_path / "b.ts").write_bytes(data)
    spool = segment(tmp_path / "b.ts", tmp_path / "spool", segment_ms=1000)
    contiguous(spool)
    assert spool.end is not None and spool.end.error is None
    assert spool.chunks[-1].next_ms == 4000
    assert sum(chunk.pictures for chunk in spool.chunks) > 60


def test_one_picture_is_a_chunk(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=26, gop=25, size=SIZE, options=("-bf", "0"))
    spool = segment(clip.path, tmp_path / "spool", segment_ms=1000)
    assert [chunk.pictures for chunk in spool.chunks] == [25, 1]
    assert shown(spool) == list(range(26))


def test_few_pictures_a_second_that_are_reordered_in_matroska(tmp_path: Path) -> None:
    """Its first packets bear no decoding times, and what follows seems to lie nearly a second before them."""
    options = ("-x264-params", "bframes=3:b-adapt=0:b-pyramid=normal")
    clip = make_clip(tmp_path / "a.mkv", Fraction(5), 40, gop=20, audio=False, size=SIZE, options=options)
    assert shown(segment(clip.path, tmp_path / "spool")) == list(range(40))
