"""Real chunks from FFmpeg through split, normalisation and retiming, decoded again at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import pytest

from streamwave.errors import MediaError
from streamwave.mp4 import (
    InitSummary,
    avc_fragment,
    media_segment,
    read_fragment,
    read_init,
    samples_of,
    split_file,
    starts_with_idr,
    video_init,
)
from streamwave.mp4.avc import Sample, decode_ticks
from streamwave.mp4.boxes import box, find, full_box, iter_boxes, need

from .conftest import FFMPEGS, FRAME_TICKS, GOP, TIMESCALE, boxed, encode_chunk, open_media, run_ffmpeg

Chunk = Callable[..., bytes]


def placed(fragment: bytes, summary: InitSummary, sequence: int, time: int) -> bytes:
    """The pictures of ``fragment``, shown from ``time`` on."""
    samples = samples_of(fragment, read_fragment(fragment, summary))
    return avc_fragment(sequence=sequence, time=time, frame_ticks=FRAME_TICKS, samples=samples)


def publish(chunks: list[bytes], first_time: int = 0) -> tuple[bytes, list[bytes]]:
    """(init, segments) of consecutive chunks, one segment per fragment, timed from ``first_time`` on."""
    inits: set[bytes] = set()
    segments: list[bytes] = []
    time = first_time
    for data in chunks:
        init, fragments = split_file(data)
        inits.add(video_init(init))
        for fragment in fragments:
            moved = placed(fragment, read_init(init), len(segments) + 1, time)
            time += read_fragment(moved, read_init(init)).duration
            segments.append(media_segment([moved]))
    assert len(inits) == 1
    return inits.pop(), segments


def test_a_chunk_splits_at_its_idr_pictures(chunk: Chunk) -> None:
    init, fragments = split_file(chunk())
    assert [b.type for b in iter_boxes(init)] == ["ftyp", "moov"]
    assert [[b.type for b in iter_boxes(f)] for f in fragments] == [["moof", "mdat"]] * 2
    summary = read_init(init)
    assert summary.codecs == "avc1.64000D"
    assert (summary.handler, summary.timescale, summary.track_id) == ("vide", TIMESCALE, 1)
    assert (summary.width_px, summary.height_px, summary.nal_length_bytes) == (320, 180, 4)
    for number, fragment in enumerate(fragments):
        found = read_fragment(fragment, summary)
        assert (found.sequence, found.time) == (number + 1, number * GOP * FRAME_TICKS)
        assert found.sample_count == GOP
        assert found.durations == (FRAME_TICKS,) * GOP
        assert found.duration == GOP * FRAME_TICKS
        assert found.syncs == (True,) + (False,) * (GOP - 1)
        assert sum(found.sizes) == len(fragment) - need(fragment, "mdat").payload
        assert starts_with_idr(fragment, summary)


@pytest.mark.parametrize("frames", [1, 2, 3, 7, 40])
@pytest.mark.parametrize("bframes", [0, 2, 3])
def test_the_first_picture_is_presented_at_the_decode_time(chunk: Chunk, frames: int, bframes: int) -> None:
    init, fragments = split_file(chunk(frames=frames, bframes=bframes))
    presented: list[int] = []
    for fragment in fragments:
        found = read_fragment(fragment, read_init(init))
        assert found.earliest == found.time == found.presentation_times[0]
        presented += sorted(found.presentation_times)
    assert presented == [n * FRAME_TICKS for n in range(frames)]
    if frames == 40 and bframes:
        assert min(read_fragment(fragments[0], read_init(init)).composition_offsets) < 0


def test_init_segments_do_not_depend_on_chunk_or_ffmpeg() -> None:
    raw = [split_file(encode_chunk(f, first, 40, 2))[0] for f in FFMPEGS for first in (0, 40)]
    assert len({video_init(init) for init in raw}) == 1
    normal = video_init(raw[0])
    assert read_init(normal) == read_init(raw[0])
    assert video_init(normal) == normal
    assert normal[: need(normal, "ftyp").end] == box("ftyp", b"cmfc", bytes(4), b"iso6cmfc")
    assert b"Lavc" not in normal and b"Lavf" not in normal
    assert find(normal, "moov/udta") is None
    trak = need(normal, "moov/trak")
    assert [b.type for b in iter_boxes(normal, trak.payload, trak.end)] == ["tkhd", "mdia"]


def test_an_edit_list_that_moves_the_presentation_is_refused() -> None:
    init, _ = split_file(encode_chunk(FFMPEGS[0], 0, 40, 2))

    def with_edit(*media_times: int, rate: int = 1 << 16, version: int = 0) -> bytes:
        wide = 8 if version else 4
        entries = b"".join(
            bytes(wide) + time.to_bytes(wide, "big", signed=True) + rate.to_bytes(4, "big") for time in media_times
        )
        elst = full_box("elst", version, 0, len(media_times).to_bytes(4, "big"), entries)
        moov = need(init, "moov")
        children = []
        for child in iter_boxes(init, moov.payload, moov.end):
            content = init[child.start : child.end]
            if child.type == "trak":
                content = box("trak", content[8:], box("edts", elst))
            children.append(content)
        return init[: moov.start] + box("moov", *children)

    assert video_init(with_edit(0)) == video_init(with_edit()) == video_init(init)
    assert read_init(with_edit(77)).edit_ticks == 77
    assert read_init(with_edit(1 << 40, version=1)).edit_ticks == 1 << 40
    with pytest.raises(MediaError, match="edit list"):
        video_init(with_edit(FRAME_TICKS))
    for unknown in (with_edit(-1), with_edit(0, 0), with_edit(0, rate=0)):
        with pytest.raises(MediaError, match="edit list"):
            read_init(unknown)


@pytest.mark.parametrize("bframes", [0, 2])
@pytest.mark.parametrize("first_time", [0, 7 * 24 * 3600 * TIMESCALE])
def test_chunks_join_into_one_exact_track(chunk: Chunk, bframes: int, first_time: int) -> None:
    chunks = [chunk(0, 40, bframes), chunk(40, 60, bframes), chunk(100, 25, bframes)]
    init, segments = publish(chunks, first_time)
    assert len(segments) == 2 + 3 + 2
    joined = init + b"".join(segments)
    with open_media(joined) as container:
        stream = container.streams.video[0]
        assert stream.time_base == Fraction(1, TIMESCALE)
        pictures = [(frame.pts, bytes(frame.to_ndarray())) for frame in container.decode(stream)]
    times = [pts for pts, _ in pictures if pts is not None]
    assert len(times) == 125
    assert {b - a for a, b in zip(times, times[1:], strict=False)} == {FRAME_TICKS}
    assert times[0] == first_time
    # The pictures themselves are those of the chunks.
    alone: list[bytes] = []
    for data in chunks:
        with open_media(data) as container:
            alone += [bytes(frame.to_ndarray()) for frame in container.decode(video=0)]
    assert [picture for _, picture in pictures] == alone


def test_ffmpeg_reads_the_joined_track_without_a_warning(chunk: Chunk) -> None:
    init, segments = publish([chunk(0, 40), chunk(40, 60)])
    for ffmpeg in FFMPEGS:
        out, err = run_ffmpeg(ffmpeg, "-i", "pipe:0", "-f", "framehash", "pipe:1", stdin=init + b"".join(segments))
        assert err == ""
        assert sum(line.startswith(b"0,") for line in out.splitlines()) == 100


def test_every_segment_is_decodable_with_the_init_alone(chunk: Chunk) -> None:
    init, segments = publish([chunk(0, 40)])
    for number, segment in enumerate(segments):
        styp = need(segment, "styp")
        assert segment[styp.start : styp.end] == box("styp", b"cmfs", bytes(4), b"cmfscmffmsdh")
        assert read_fragment(split_file(init + segment)[1][0], read_init(init)).sequence == number + 1
        with open_media(init + segment) as container:
            assert len(list(container.decode(video=0))) == GOP


@pytest.mark.parametrize("frames", [1, 2, 3, 40])
@pytest.mark.parametrize("bframes", [0, 2, 3])
def test_every_reader_presents_the_first_picture_at_the_decode_time(chunk: Chunk, frames: int, bframes: int) -> None:
    late = 7 * 24 * 3600 * TIMESCALE + FRAME_TICKS
    for first_time in (0, late):
        init, segments = publish([chunk(0, frames, bframes)], first_time)
        begin = first_time
        for segment in segments:
            found = read_fragment(split_file(init + segment)[1][0], read_init(init))
            due = [begin + n * FRAME_TICKS for n in range(found.sample_count)]
            # The spec's reader
            assert found.time == found.earliest == found.presentation_times[0] == begin
            assert sorted(found.presentation_times) == due
            assert min(found.composition_offsets) >= 0
            run = need(segment, "moof/traf/trun")
            assert segment[run.payload] == 0  # version 0: offsets without a sign
            assert found.time + found.duration == due[-1] + FRAME_TICKS
            # FFmpeg's library, through PyAV
            with open_media(init + segment) as container:
                assert [frame.pts for frame in container.decode(video=0)] == due
            begin = due[-1] + FRAME_TICKS
    for ffmpeg in FFMPEGS:
        out, err = run_ffmpeg(
            ffmpeg, "-copyts", "-i", "pipe:0", "-fps_mode", "passthrough", "-enc_time_base", f"1:{TIMESCALE}",
            "-f", "framehash", "pipe:1", stdin=init + segments[-1],
        )  # fmt: skip
        assert err == ""
        assert [int(line.split(b",")[2]) for line in out.splitlines() if line.startswith(b"0,")] == due


def test_several_fragments_make_one_segment(chunk: Chunk) -> None:
    init, fragments = split_file(chunk())
    segment = media_segment(fragments)
    assert [b.type for b in iter_boxes(segment)] == ["styp", "moof", "mdat", "moof", "mdat"]
    assert b"cmff" not in segment[:28]
    assert split_file(init + segment) == (init, fragments)
    with pytest.raises(MediaError):
        media_segment([])


@pytest.mark.parametrize("bframes", [0, 2, 3])
def test_pictures_are_decoded_in_time_and_no_edit_list_is_needed(chunk: Chunk, bframes: int) -> None:
    init, (fragment, _) = split_file(chunk(bframes=bframes))
    summary = read_init(init)
    before = read_fragment(fragment, summary)
    assert (min(before.composition_offsets) < 0) == bool(bframes)
    moved = placed(fragment, summary, 7, 1 << 40)
    after = read_fragment(moved, summary)
    assert (after.sequence, after.time, after.edit_ticks) == (7, 1 << 40, 0)
    assert [at - after.time for at in after.presentation_times] == list(before.presentation_times)
    assert (after.sizes, after.syncs, after.duration) == (before.sizes, before.syncs, before.duration)
    assert min(after.composition_offsets) == after.composition_offsets[0] == 0
    assert min(after.durations) > 0
    ends = [at + length for at, length in zip(after.presentation_times, after.durations, strict=True)]
    assert max(ends) == after.time + after.duration  # nothing reaches into the next fragment
    assert moved[need(moved, "mdat").start :] == fragment[need(fragment, "mdat").start :]
    assert placed(moved, summary, 7, 1 << 40) == moved
    # Without B-frames nothing is said about single pictures.
    assert (set(after.durations) == {FRAME_TICKS}) == (not bframes)


@pytest.mark.parametrize(
    ("places", "decoded"),
    [
        ([0], [0, 10]),
        ([0, 1, 2], [0, 10, 20, 30]),
        ([0, 2, 1], [0, 1, 10, 30]),
        ([0, 3, 1, 2, 4], [0, 1, 10, 20, 40, 50]),
        ([0, 4, 2, 1, 3, 5], [0, 1, 2, 10, 30, 50, 60]),
        ([0, 1, 4, 3, 2], [0, 1, 2, 10, 20, 50]),
    ],
)
def test_each_picture_is_decoded_as_late_as_it_can_be(places: list[int], decoded: list[int]) -> None:
    assert decode_ticks(places, 10) == decoded


@pytest.mark.parametrize("places", [[1, 0], [0, 2], [0, 1, 1], [1], [], [0, 5, 4, 3, 2, 1]])
def test_a_fragment_that_cannot_be_decoded_in_time_is_refused(places: list[int]) -> None:
    with pytest.raises(MediaError, match=r"at least one frame, and none|must also be presented first"):
        samples = [Sample(b"x", number == 0, place) for number, place in enumerate(places)]
        avc_fragment(sequence=1, time=0, frame_ticks=3, samples=samples)


@pytest.mark.parametrize(("sequence", "time"), [(0, 0), (1 << 32, 0), (1, -1), (1, 1 << 64)])
def test_numbers_that_do_not_fit_are_refused(sequence: int, time: int) -> None:
    init, fragments = split_file(encode_chunk(FFMPEGS[0], 0, 40, 2))
    with pytest.raises(MediaError, match="sequence number"):
        placed(fragments[0], read_init(init), sequence, time)


def test_a_lying_sync_flag_does_not_make_an_idr(chunk: Chunk) -> None:
    init, (fragment, _) = split_file(chunk())
    summary = read_init(init)
    found = read_fragment(fragment, summary)
    # Let the run begin at the second picture: MP4 flags still call its first sample a sync sample.
    table = boxed(fragment, b"trun")
    size = int.from_bytes(fragment[table + 24 : table + 28], "big")
    assert size == found.sizes[0]
    other = fragment[found.positions[1] : found.positions[1] + found.sizes[1]]
    forged = (
        fragment[: table + 24] + found.sizes[1].to_bytes(4, "big") + fragment[table + 28 : found.positions[0]] + other
        + fragment[found.positions[0] + len(other) :]
    )  # fmt: skip
    assert read_fragment(forged, summary).syncs[0]
    assert not starts_with_idr(forged, summary)


def test_nal_units_that_do_not_fill_the_sample_are_an_error(chunk: Chunk) -> None:
    init, (fragment, _) = split_file(chunk())
    start = read_fragment(fragment, read_init(init)).positions[0]
    with pytest.raises(MediaError, match="NAL"):
        starts_with_idr(fragment[:start] + b"\xff" + fragment[start + 1 :], read_init(init))


def test_split_drops_what_is_no_init_and_no_fragment(chunk: Chunk) -> None:
    init, fragments = split_file(chunk())
    moov = need(init, "moov").start
    noisy = init[:moov] + box("free", b"x") + init[moov:] + box("sidx", bytes(8)) + b"".join(
        box("styp", b"msdh") + box("prft", bytes(8)) + f for f in fragments
    ) + box("mfra", bytes(8))  # fmt: skip
    assert split_file(noisy) == (init, fragments)


def test_nothing_may_lie_between_moof_and_mdat(chunk: Chunk) -> None:
    init, (fragment, _) = split_file(chunk())
    end = need(fragment, "moof").end
    gap = fragment[:end] + box("free", b"x") + fragment[end:]
    with pytest.raises(MediaError, match="not followed by its mdat"):
        split_file(init + gap)


def test_every_truncation_is_an_error(chunk: Chunk) -> None:
    data = chunk()
    init, fragments = split_file(data)
    edges = {len(init) + sum(map(len, fragments[:n])) for n in range(1, len(fragments) + 1)}
    for length in [
        *range(0, len(data), 97),
        len(init),
        *(e - 1 for e in edges),
        *(e + 1 for e in edges if e < len(data)),
    ]:
        if length not in edges:
            with pytest.raises(MediaError):
                split_file(data[:length])


@pytest.mark.parametrize("data", [b"", b"\0" * 64, b"garbage that is no MP4 at all", box("ftyp") + box("moov")])
def test_garbage_is_an_error(data: bytes) -> None:
    with pytest.raises(MediaError):
        split_file(data)


def test_an_unfragmented_file_is_an_error() -> None:
    with pytest.raises(MediaError, match="not fragmented"):
        split_file(box("ftyp", b"isom") + box("moov") + box("mdat", b"x"))


def test_damage_ends_in_a_media_error_or_a_summary(chunk: Chunk) -> None:
    """No byte of an init segment or a moof, however wrong, may raise anything else."""
    init, (fragment, _) = split_file(chunk())
    summary, refused = read_init(init), 0
    for position in range(len(init)):
        damaged = init[:position] + bytes([init[position] ^ 0xFF]) + init[position + 1 :]
        try:
            read_init(damaged), video_init(damaged)
        except MediaError:
            refused += 1
    for position in range(need(fragment, "moof").end):
        damaged = fragment[:position] + bytes([fragment[position] ^ 0xFF]) + fragment[position + 1 :]
        try:
            read_fragment(damaged, summary), starts_with_idr(damaged, summary)
        except MediaError:
            refused += 1
        try:
            placed(damaged, summary, 1, 0)
        except MediaError:
            refused += 1
    assert refused > 200


INIT = InitSummary("avc1.64000D", "vide", 1000, 1, 16, 16, 4, default_duration=5, default_size=3, default_flags=0x10000)


def synthetic(tfhd_flags: int, tfhd_rest: str, *truns: bytes, payload: bytes = bytes(12)) -> bytes:
    """A fragment of track 1 at time 100; each trun says its data offset relative to the start of the mdat's payload."""

    def number(value: int) -> bytes:
        return value.to_bytes(4, "big")

    def moof(shift: int) -> bytes:
        runs = []
        for trun in truns:
            has_offset = trun[11] & 1
            offset = int.from_bytes(trun[16:20], "big")
            runs.append(trun[:16] + number((offset + shift) & 0xFFFFFFFF) + trun[20:] if has_offset else trun)
        tfhd = full_box("tfhd", 0, tfhd_flags, number(1), bytes.fromhex(tfhd_rest))
        return box(
            "moof", full_box("mfhd", 0, 0, number(4)),
            box("traf", tfhd, full_box("tfdt", 0, 0, number(100)), *runs),
        )  # fmt: skip

    return moof(len(moof(0)) + 8) + box("mdat", payload)


def run(flags: int, *words: int, version: int = 0) -> bytes:
    return full_box("trun", version, flags, b"".join((w & 0xFFFFFFFF).to_bytes(4, "big") for w in words))


def test_defaults_come_from_trex_then_tfhd_then_trun() -> None:
    found = read_fragment(synthetic(0x20000, "", run(0x1, 2, 0)), INIT)
    assert (found.durations, found.sizes, found.syncs) == ((5, 5), (3, 3), (False, False))
    # tfhd: description index, duration 7, size 2, flags sync
    found = read_fragment(synthetic(0x2003A, "00000001 00000007 00000002 02000000", run(0x1, 2, 0)), INIT)
    assert (found.durations, found.sizes, found.syncs) == ((7, 7), (2, 2), (True, True))
    # trun: first sample flags only; then everything per sample
    found = read_fragment(synthetic(0x20000, "", run(0x5, 2, 0, 0x02000000)), INIT)
    assert found.syncs == (True, False)
    full = run(0xF01, 2, 0, 9, 4, 0x02000000, 0, 8, 5, 0x10000, -8, version=1)
    found = read_fragment(synthetic(0x20000, "", full), INIT)
    assert (found.durations, found.sizes, found.syncs) == ((9, 8), (4, 5), (True, False))
    assert found.composition_offsets == (0, -8)
    assert found.presentation_times == (100, 101)
    assert (found.time, found.sequence, found.duration) == (100, 4, 17)


def test_several_runs_follow_each_other() -> None:
    data = synthetic(0x20000, "", run(0x1, 2, 0), run(0x0, 1), run(0x1, 1, 9))
    found = read_fragment(data, INIT)
    start = need(data, "mdat").payload
    assert found.positions == (start, start + 3, start + 6, start + 9)
    assert [sample.place for sample in samples_of(data, found)] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "trun",
    [
        run(0x801, 2, 0, 0, 4),  # shown 0 and 9
        run(0x801, 2, 0, 0, 5 << 20),
        run(0x801, 2, 0, -5, 0, version=1),  # the first one before its fragment
        run(0xB01, 2, 0, 0, 3, 0, 0, 3, 0),  # for no time at all
        run(0x301, 2, 0, 5, 3, 6, 3),  # one longer than the other
    ],
)
def test_pictures_that_are_not_shown_one_after_the_other_are_refused(trun: bytes) -> None:
    data = synthetic(0x20000, "", trun)
    with pytest.raises(MediaError, match="do not follow each other"):
        samples_of(data, read_fragment(data, INIT))


@pytest.mark.parametrize(
    "data",
    [
        synthetic(0x20000, "", run(0x1, 5, 0)),  # 15 bytes in an mdat of 12
        synthetic(0x20000, "", run(0x1, 1, 10)),  # beyond the end
        synthetic(0x20000, "", run(0x1, 1, -1)),  # before the payload
        synthetic(0x20000, "", run(0x0, 1)),  # without offset: at the moof itself
        synthetic(0x20000, "", run(0x1, 0xFFFFFFFF, 0)),  # a wild count
        synthetic(0x20000, "", run(0x201, 3, 0, 4, 4)),  # a size is missing
        synthetic(0x20000, "", run(0x201, 1, 0, 0)),  # an empty sample
        synthetic(0x20000, "", run(0x1, 0, 0)),  # no samples
        synthetic(0x20000, ""),  # no runs
        synthetic(0x1, "0000000000000000", run(0x1, 1, 0)),  # absolute offsets
        synthetic(0x20008, "", run(0x1, 1, 0)),  # tfhd cut short
    ],
)
def test_fragments_that_lie_are_refused(data: bytes) -> None:
    with pytest.raises(MediaError):
        read_fragment(data, INIT)


def test_a_fragment_of_another_track_is_refused() -> None:
    with pytest.raises(MediaError, match="track 1"):
        read_fragment(synthetic(0x20000, "", run(0x1, 1, 0)), replace(INIT, track_id=2))
