"""Parameter sets and configuration records of H.264, and fragments of pictures that are there already."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streamwave.errors import MediaError
from streamwave.mp4 import Sample, avc_fragment, read_fragment, read_init, samples_of, split_file, starts_with_idr
from streamwave.mp4.avcc import AvcConfiguration, configuration, with_configuration
from streamwave.mp4.nal import split_nals
from streamwave.mp4.sps import hevc_size, pps_id, read_sps, slice_pps
from streamwave.receive.nals import nal_type, nals
from tests.component.mp4.conftest import FFMPEGS, FRAME_TICKS, open_media, run_ffmpeg
from tests.support.hostile import hevc_sps


def coded(size: str, *options: str) -> AvcConfiguration:
    """The configuration of a picture that x264 codes with ``options``."""
    out, _ = run_ffmpeg(
        FFMPEGS[0], "-f", "lavfi", "-i", f"testsrc2=size={size}:rate=25", "-frames:v", "2", "-c:v", "libx264",
        *options, "-f", "mp4", "-movflags", "+cmaf", "pipe:1",
    )  # fmt: skip
    return configuration(split_file(out)[0])


@pytest.mark.parametrize(
    ("size", "options", "expected"),
    [
        ("320x180", (), {"profile": 100, "width_px": 320, "height_px": 180, "frames_only": True, "plain_colour": True}),
        ("1920x1080", ("-profile:v", "baseline"), {"profile": 66, "width_px": 1920, "height_px": 1080, "id": 0}),
        ("854x480", ("-profile:v", "main", "-level", "4.2"), {"profile": 77, "level": 42, "width_px": 854}),
        ("720x576", ("-x264-params", "interlaced=1:sps-id=9"), {"frames_only": False, "height_px": 576, "id": 9}),
        ("720x576", ("-vf", "setsar=64/45"), {"square_pixels": False, "width_px": 720}),
        ("322x182", ("-pix_fmt", "yuv422p"), {"plain_colour": False, "width_px": 322, "height_px": 182}),
        ("322x182", ("-pix_fmt", "yuv444p"), {"plain_colour": False, "width_px": 322, "height_px": 182}),
        ("322x182", ("-pix_fmt", "yuv420p10le"), {"plain_colour": False, "height_px": 182}),
        ("320x180", ("-x264-params", "cqm=jvt"), {"width_px": 320, "height_px": 180, "square_pixels": True}),
    ],
)
def test_a_sequence_parameter_set_says_what_was_encoded(
    size: str, options: tuple[str, ...], expected: dict[str, object]
) -> None:
    found = read_sps(coded(size, *options).sps[0])
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize("size", ["320x180", "1920x1080", "64x3000"])
def test_a_sequence_parameter_set_of_hevc_says_the_size(size: str) -> None:
    out, _ = run_ffmpeg(
        FFMPEGS[0], "-f", "lavfi", "-i", f"testsrc2=size={size}:rate=25", "-frames:v", "1", "-c:v", "libx265", "-preset",
        "ultrafast", "-x265-params", "log-level=error", "-f", "hevc", "pipe:1",
    )  # fmt: skip
    (found,) = [nal for nal in nals(out, None) if nal_type(nal, "hevc") == 33]
    width, height = map(int, size.split("x"))
    coded = hevc_size(found)
    assert width <= coded[0] < width + 16 and height <= coded[1] < height + 16
    for layers in (0, 2, 6):
        assert hevc_size(hevc_sps(16384, 8640, layers)) == (16384, 8640)
    with pytest.raises(MediaError):
        hevc_size(found[:12])


def test_parameter_sets_of_x264_have_the_number_that_it_is_told() -> None:
    found = coded("320x180", "-x264-params", "sps-id=7")
    assert (read_sps(found.sps[0]).id, pps_id(found.pps[0])) == (7, 7)


def test_what_is_cut_off_or_something_else_is_refused() -> None:
    found = coded("320x180")
    for nal in (b"", found.pps[0], found.sps[0][:6]):
        with pytest.raises(MediaError, match="encode the source again"):
            read_sps(nal)
    with pytest.raises(MediaError):
        pps_id(found.sps[0])
    record = found.write()
    for cut in (b"", record[:6], record[:20], b"\x02" + record[1:]):
        with pytest.raises(MediaError, match="re-create the file"):
            AvcConfiguration.read(cut)


def test_a_record_is_read_as_it_was_written_and_holds_two_encoders(chunk: Callable[..., bytes]) -> None:
    own, other = (
        configuration(split_file(chunk())[0]),
        coded("320x180", "-profile:v", "baseline", "-x264-params", "sps-id=7"),
    )
    assert AvcConfiguration.read(own.write()) == own
    joined = other.joined(own)
    assert joined.sps == (*other.sps, *own.sps) and joined.pps == (*other.pps, *own.pps)
    assert (joined.profile, joined.level) == (own.profile, max(own.level, other.level))
    assert own.joined(own).sps == own.sps
    init, fragments = split_file(chunk())
    both = with_configuration(init, joined)
    assert configuration(both) == joined and len(both) > len(init)
    assert read_init(both).codecs == f"avc1.{joined.profile:02X}{joined.constraints:02X}{joined.level:02X}"
    assert with_configuration(both, own) == init
    with open_media(both + b"".join(fragments)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 40


def test_a_fragment_shows_the_same_pictures_as_the_one_that_it_was_made_of(chunk: Callable[..., bytes]) -> None:
    init, fragments = split_file(chunk())
    summary, made = read_init(init), []
    for number, fragment in enumerate(fragments):
        found = read_fragment(fragment, summary)
        samples = samples_of(fragment, found)
        made.append(avc_fragment(sequence=number + 1, time=found.time, frame_ticks=FRAME_TICKS, samples=samples))
        told = read_fragment(made[-1], summary)
        assert told.presentation_times == found.presentation_times and told.syncs == found.syncs
        assert starts_with_idr(made[-1], summary)

    def pictures(data: bytes) -> list[bytes]:
        with open_media(data) as container:
            return [bytes(frame.planes[0]) for frame in container.decode(video=0)]

    assert pictures(init + b"".join(made)) == pictures(init + b"".join(fragments))


def test_a_fragment_needs_pictures() -> None:
    for samples in ([], [Sample(b"", True, 0)]):
        with pytest.raises(MediaError, match="needs at least one frame"):
            avc_fragment(sequence=1, time=0, frame_ticks=1000, samples=samples)


def test_a_slice_names_its_parameter_set(chunk: Callable[..., bytes]) -> None:
    init, fragments = split_file(chunk())
    found = read_fragment(fragments[0], read_init(init))
    sample = fragments[0][found.positions[0] : found.positions[0] + found.sizes[0]]
    slices = [nal for nal in split_nals(sample, 4) if nal[0] & 0x1F == 5]
    assert [slice_pps(nal) for nal in slices] == [pps_id(configuration(init).pps[0])] * len(slices)
