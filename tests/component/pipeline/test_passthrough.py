"""The source's own pictures as the top rendition: when, exactly which, and side by side with encoded ones."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest

from streamwave.errors import UnfitError
from streamwave.ffmpeg.source_pictures import Picture, own_segments
from streamwave.mp4.avcc import AvcConfiguration
from streamwave.mp4.nal import split_nals
from streamwave.mp4.sps import pps_id
from streamwave.storage.store import open_store
from tests.matrix.measure import own_segments as shown_as_is
from tests.matrix.pipeline import transcode
from tests.support.media import ffmpeg, make_clip
from tests.support.player import Representation, representations

#: The largest rung is as large as the clips are.
SMALL = ', {"name": "small", "short_side": 90, "max_kbps": 300}'
LADDER = f'{{"rungs": [{{"name": "large", "short_side": 180, "max_kbps": 2000}}{SMALL}]}}'
RATE = Fraction(25)


def published(
    source: Path, folder: Path, *, ladder: str = LADDER, passthrough: bool = True
) -> dict[str, Representation]:
    folder.mkdir(exist_ok=True)
    made = transcode(source, folder, ladder=ladder, segment_s=2, passthrough=passthrough)
    assert (made.filled, made.damaged) == (0, 0)
    return representations(made.root, 0)


def pictures(source: Path | io.BytesIO) -> list[bytes]:
    """Every picture of a file as it is shown."""
    with av.open(source if isinstance(source, io.BytesIO) else str(source), "r") as container:
        return [frame.to_ndarray().tobytes() for frame in container.decode(video=0)]


def places(order: Iterable[int], keys: Iterable[int] = (0,)) -> list[Picture]:
    return [Picture(place, place in set(keys), b"x") for place in order]


def test_the_top_rendition_is_the_source_to_the_last_bit(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=200)
    found = published(clip.path, tmp_path / "auto")
    assert shown_as_is(found["large"]) == [True] * 4
    assert pictures(io.BytesIO(found["large"].data)) == pictures(clip.path)
    usual = published(clip.path, tmp_path / "never", passthrough=False)
    assert found["small"].data == usual["small"].data
    assert [(s.time, s.duration) for s in found["large"].segments] == [
        (s.time, s.duration) for s in usual["large"].segments
    ]
    assert pictures(io.BytesIO(usual["large"].data)) != pictures(clip.path)


def test_segments_begin_at_the_keyframes_of_the_source_in_all_renditions(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=280, gop=56)  # 2.24 s
    found = published(clip.path, tmp_path / "out")
    assert shown_as_is(found["large"]) == [True] * 5
    for name in ("large", "small"):
        assert [segment.duration * RATE / found[name].timescale for segment in found[name].segments] == [56] * 5


def test_a_chunk_that_does_not_fit_is_encoded_and_all_decode_as_one(tmp_path: Path) -> None:
    # Keyframes every 2 s, but for two that are missing between 4 and 10 s.
    source = tmp_path / "clip.mp4"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25", "-t", "24", "-c:v", "libx264", "-preset", "veryfast"),
        *(
            "-bf",
            "2",
            "-g",
            "1000",
            "-sc_threshold",
            "0",
            "-force_key_frames",
            "0,2,4,10,12,14,16,18,20,22",
            str(source),
        ),
    )
    found = published(source, tmp_path / "out")
    own = shown_as_is(found["large"])
    assert len(own) == 12 and own == [True] * 2 + [False] * 3 + [True] * 7
    shown, due = pictures(io.BytesIO(found["large"].data)), pictures(source)
    assert len(shown) == len(due) == 600
    assert shown[:100] == due[:100] and shown[250:] == due[250:]
    assert all(a != b for a, b in zip(shown[100:250], due[100:250], strict=True))
    assert len(pictures(io.BytesIO(found["small"].data))) == 600


def test_a_chunk_that_a_decoder_complains_of_is_encoded(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=200)
    data = bytearray(clip.path.read_bytes())
    with av.open(str(clip.path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][100]
        assert packet.pos is not None
        middle = packet.pos + packet.size // 2
    data[middle : middle + 400] = b"\xa5" * 400
    clip.path.write_bytes(bytes(data))
    made = transcode(clip.path, tmp_path, ladder=LADDER, segment_s=2, passthrough=True)
    found = representations(made.root, 0)
    assert shown_as_is(found["large"]) == [True, True, False, True]
    assert [len(pictures(io.BytesIO(found[name].data))) for name in ("large", "small")] == [200, 200]


def test_a_ladder_of_one_rung_needs_no_encoder(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=100)
    found = published(clip.path, tmp_path / "out", ladder=LADDER.replace(SMALL, ""))
    assert set(found) == {"large", "audio"} and shown_as_is(found["large"]) == [True] * 2
    assert pictures(io.BytesIO(found["large"].data)) == pictures(clip.path)


@pytest.mark.parametrize(
    ("size", "options"),
    [
        ("640x360", ()),  # larger than the top rung
        ("320x180", ("-vf", "noise=alls=40:allf=t", "-qp", "18")),
        ("320x180", ("-pix_fmt", "yuv422p")),
        ("320x180", ("-vf", "setsar=4/3")),
        ("320x180", ("-x264-params", "interlaced=1")),
        ("320x180", ("-color_range", "pc", "-pix_fmt", "yuvj420p")),
        ("320x180", ("-g", "100")),
        ("320x180", ("-c:v", "mpeg4", "-qscale:v", "4")),
        ("320x180", ("-color_primaries", "bt2020", "-colorspace", "bt2020nc", "-color_trc", "bt2020-10")),
    ],
    ids=["size", "bits", "4:2:2", "pixels", "fields", "range", "keyframes", "codec", "colours"],
)
def test_what_players_may_not_show_as_it_is_is_encoded(size: str, options: tuple[str, ...], tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", frames=100, size=size, audio=False, options=options)
    found = published(clip.path, tmp_path / "out")
    assert not any(shown_as_is(found["large"])) if "large" in found else True
    assert all(len(pictures(io.BytesIO(one.data))) == 100 for one in found.values())


def test_the_ledger_and_the_init_segment_are_the_same_for_both_kinds_of_chunks(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=200)
    published(clip.path, tmp_path / "out")
    names = list(open_store(str(tmp_path / "out" / "out")).names())
    assert [name for name in names if name.endswith("large/init.mp4")] == ["p0/large/init.mp4"]


def test_segments_follow_closed_keyframes_only() -> None:
    class Chunk:
        rate, frame_count = Fraction(10), 40

    def segments(found: list[Picture], delay: int = 2) -> tuple[int, ...]:
        return own_segments(Chunk, found, Fraction(20), delay)  # type: ignore[arg-type]

    assert segments(places(range(40), (0, 20))) == (20, 20)
    assert segments(places(range(40), (0, 5, 18, 30))) == (18, 22)
    # A leading picture (19) is decoded after the keyframe at 20: nothing may begin there.
    open_gop = [*range(19), 20, 19, *range(21, 40)]
    with pytest.raises(UnfitError, match="too rare"):
        segments(places(open_gop, (0, 20)))
    for order, words in (
        ([*range(39)], "one by one"),
        ([*range(39), 38], "one by one"),
        ([*range(39), 41], "one by one"),
        ([3, 4, 5, 0, 1, 2, *range(6, 40)], "reach too far"),
    ):
        with pytest.raises(UnfitError, match=words):
            segments(places(order, (0, 3, 20)))
    with pytest.raises(UnfitError, match="B-frames"):
        segments(places([0, 2, 1, *range(3, 40)], (0, 20)), delay=0)
    with pytest.raises(UnfitError, match="IDR"):
        segments(places(range(40), (20,)))


def without_a_slice(source: Path, target: Path, picture: int) -> None:
    """The same in Matroska, but ``picture``, in decoding order, lacks its last slice."""
    with av.open(str(source)) as given, av.open(str(target), "w", format="matroska") as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        for number, packet in enumerate(packet for packet in given.demux(video=0) if packet.size):
            if number == picture:
                parts = list(split_nals(bytes(packet), 4))
                cut = av.Packet(b"".join(len(nal).to_bytes(4, "big") + nal for nal in parts[:-1]))
                cut.pts, cut.dts, cut.duration, cut.time_base = (
                    packet.pts,
                    packet.dts,
                    packet.duration,
                    packet.time_base,
                )
                cut.stream = stream
                made.mux(cut)
                continue
            packet.stream = stream
            made.mux(packet)


def test_a_picture_that_lacks_a_slice_is_not_shown_as_it_is(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=150, audio=False, options=("-bf", "0", "-x264-params", "slices=4"))
    without_a_slice(clip.path, tmp_path / "cut.mkv", 70)
    made = transcode(tmp_path / "cut.mkv", tmp_path, ladder=LADDER, segment_s=2, passthrough=True)
    found = representations(made.root, 0)
    assert shown_as_is(found["large"]) == [True, False, True]
    assert len(pictures(io.BytesIO(found["large"].data))) == 150


def test_what_is_said_behind_a_picture_is_left_out(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=100, audio=False, options=("-bf", "0"))
    late = "h264_metadata=sei_user_data=086f3693-b7b3-4f2c-9653-21492feee5b8+hello"
    ffmpeg("-i", str(clip.path), "-c", "copy", "-bsf:v", late, str(tmp_path / "late.mp4"))
    found = published(tmp_path / "late.mp4", tmp_path / "out")
    assert shown_as_is(found["large"]) == [True] * 2
    assert found["large"].data.count(b"hello") < 10  # those in front stay
    assert pictures(io.BytesIO(found["large"].data)) == pictures(clip.path)


def test_parameter_sets_that_have_the_same_number_are_not_shown_as_they_are(tmp_path: Path) -> None:
    """Which of the two counts would depend on the player."""
    clip = make_clip(tmp_path / "clip.mp4", frames=100, audio=False)
    other = make_clip(tmp_path / "other.mp4", frames=25, audio=False, options=("-coder", "0"))
    doubled = tmp_path / "doubled.mkv"
    with av.open(str(clip.path)) as given, av.open(str(other.path)) as foreign, av.open(str(doubled), "w") as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        mine, theirs = (
            AvcConfiguration.read(one.streams.video[0].codec_context.extradata or b"") for one in (given, foreign)
        )
        assert mine.pps != theirs.pps and [*map(pps_id, mine.pps)] == [*map(pps_id, theirs.pps)]
        stream.codec_context.extradata = replace(mine, pps=(*theirs.pps, *mine.pps)).write()
        for packet in given.demux(video=0):
            if packet.size:
                packet.stream = stream
                made.mux(packet)
    found = published(doubled, tmp_path / "out")
    assert not any(shown_as_is(found["large"]))
    assert len(pictures(io.BytesIO(found["large"].data))) == 100
