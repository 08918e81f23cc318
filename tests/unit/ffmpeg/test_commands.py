"""The command lines as data: what decides the pictures and the bytes is in them, once, where it belongs."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import pytest

from streamwave.ffmpeg.commands import EncoderSettings, check_argv, filler_argv, transcode_argv, vbv_bps
from streamwave.model import Chunk, Rendition

NTSC = Fraction(30000, 1001)
LARGE = Rendition(name="720p", kind="video", width=1280, height=720, max_bps=2_800_000)
SMALL = Rendition(name="360p", kind="video", width=640, height=360, max_bps=800_000)


def chunk(**changes: object) -> Chunk:
    values = {
        "number": 3, "rate": NTSC, "first_frame": 180, "frame_count": 150, "segments": (75, 75),
        "video_path": "/spool/000003.mkv", "audio_path": None,
    }  # fmt: skip
    return Chunk.model_validate({**values, **changes})


def argv(which: Chunk | None = None, **settings: object) -> list[str]:
    return transcode_argv(
        "/bin/ffmpeg", which or chunk(), {"720p": Path("/w/720p.mp4"), "360p": Path("/w/360p.mp4")},
        {"720p": LARGE, "360p": SMALL}, EncoderSettings(**settings),  # type: ignore[arg-type]
    )  # fmt: skip


def values(command: list[str], option: str) -> list[str]:
    return [value for name, value in zip(command, command[1:], strict=False) if name == option]


def test_one_process_decodes_once_for_all_renditions() -> None:
    command = argv()
    assert command[0] == "/bin/ffmpeg" and values(command, "-i") == ["/spool/000003.mkv"]
    assert [word for word in command if word.endswith(".mp4")] == ["/w/720p.mp4", "/w/360p.mp4"]
    (graph,) = values(command, "-filter_complex")
    assert graph.count("split=2") == 1 and graph.count("scale=") == 2
    assert "h=720:out_color_matrix=bt709:out_range=tv:w=1280" in graph
    assert values(command, "-protocol_whitelist") == ["file"]


def test_no_decoder_takes_larger_pictures_than_the_limit() -> None:
    checked = check_argv("/bin/ffmpeg", chunk(), EncoderSettings(max_pixels=1234))
    for command in (argv(max_pixels=1234), checked):
        assert values(command, "-max_pixels") == ["1234"]
        assert command.index("-max_pixels") < command.index("-i")


def test_frames_are_put_on_the_grid_and_counted() -> None:
    (graph,) = values(argv(), "-filter_complex")
    stages = [stage.split("=")[0].split("]")[-1] for stage in graph.split(";")]
    assert stages[:9] == ["bwdif", "sidedata", "tpad", "settb", "setpts", "fps", "tpad", "trim", "split"]
    assert "settb=1001/30000" in graph and "PTS-180" in graph and "end_frame=150" in graph
    assert "fps=30000/1001" in graph.replace("fps=fps=", "fps=")
    assert values(argv(), "-fps_mode") == ["passthrough"] * 2 and "-copyts" in argv()


def test_segments_begin_with_forced_idr_pictures_and_nothing_else_does() -> None:
    command = argv(chunk(frame_count=151, segments=(51, 50, 50)))
    assert values(command, "-force_key_frames") == ["expr:eq(n,0)+eq(n,51)+eq(n,101)"] * 2
    assert set(values(command, "-sc_threshold")) == {"0"} and set(values(command, "-forced-idr")) == {"1"}
    # The same for all chunks, however long: x264 writes it into what the init segment is made of.
    assert values(command, "-g") == values(argv(), "-g")


def test_what_all_machines_must_agree_on_is_said() -> None:
    command = argv(preset="medium", crf=19, threads=3)
    assert values(command, "-preset") == ["medium"] * 2 and values(command, "-crf") == ["18.3"] * 2
    assert set(values(command, "-threads")) == {"3"}
    assert values(command, "-video_track_timescale") == ["30000"] * 2
    assert all("bitexact" in flags for flags in values(command, "-flags") + values(command, "-fflags"))
    assert argv() == argv()


def test_a_chunk_keeps_within_its_maximum_on_average() -> None:
    # Seconds' worth of bits that x264 takes out of its buffer beyond what comes in: with them the chunk is at its maximum.
    for b_frames, head_start_s in ((True, Fraction(71, 100)), (False, Fraction(88, 100))):
        for frames in (1, 30, 60, 300, 900):
            bps = vbv_bps(2_800_000, chunk(frame_count=frames, segments=(frames,)), b_frames=b_frames)
            seconds = max(frames / NTSC, Fraction(1))
            assert 2_790_000 * seconds < bps * (seconds + head_start_s) <= 2_800_000 * seconds
        command = argv(b_frames=b_frames)
        rates = [vbv_bps(r.max_bps, chunk(), b_frames=b_frames) for r in (LARGE, SMALL)]
        assert values(command, "-maxrate") == [str(bps) for bps in rates]
        # The buffer is larger than a second of that rate, but not than one of the maximum, however long the chunk.
        for which in (chunk(frame_count=60, segments=(60,)), chunk(), chunk(frame_count=900, segments=(900,))):
            command = argv(which, b_frames=b_frames)
            for size, rate, rendition in zip(
                values(command, "-bufsize"), values(command, "-maxrate"), (LARGE, SMALL), strict=True
            ):
                assert int(rate) < int(size) <= rendition.max_bps


def zones(command: list[str]) -> list[tuple[int, int, float]]:
    (params, _) = values(command, "-x264-params")
    listed = dict(part.split("=", 1) for part in params.split(":"))["zones"].split("/")
    assert "vbv-init=1" in params.split(":")
    return [(int(zone.split(",")[0]), int(zone.split(",")[1]), float(zone.split(",b=")[1])) for zone in listed]


@pytest.mark.parametrize(
    "b_frames, crf, first, coarser_qp",
    [(True, 23, 22.3, 0.05), (False, 23, 20, 0), (False, 2, 1, 0), (True, 1, 1, 0.05)],
)
def test_the_first_picture_of_a_chunk_is_finer_and_the_others_are_as_asked(
    b_frames: bool, crf: int, first: float, coarser_qp: float
) -> None:
    command = argv(b_frames=b_frames, crf=crf)
    assert values(command, "-crf") == [f"{first:g}"] * 2
    whole, unsettled = zones(command)
    assert whole[0] == unsettled[0] == 0 and whole[1] == int(values(command, "-g")[0]) - 1 and unsettled[1] == 2
    # What the zone takes back in bits: the quantizer doubles with 6 QP.
    assert -6 * math.log2(whole[2]) == pytest.approx(crf - first + coarser_qp, abs=0.01)
    assert unsettled[2] == pytest.approx(1.2 * whole[2], rel=0.001)
    # Never lossless, which the High profile has not.
    assert first >= 1


def test_names_with_special_characters_stay_one_argument() -> None:
    odd = chunk(video_path="/spool/a b'c;[d],e=f\\g.mkv")
    assert values(argv(odd), "-i") == ["/spool/a b'c;[d],e=f\\g.mkv"]


def test_a_stand_in_has_the_same_encoding() -> None:
    black = filler_argv("/bin/ffmpeg", chunk(), Path("/w/x.mp4"), LARGE, EncoderSettings())
    whole = transcode_argv("/bin/ffmpeg", chunk(), {"720p": Path("/w/x.mp4")}, {"720p": LARGE}, EncoderSettings())
    for option in (
        "-preset",
        "-crf",
        "-maxrate",
        "-bufsize",
        "-x264-params",
        "-g",
        "-force_key_frames",
        "-video_track_timescale",
        "-movflags",
        "-flags",
    ):
        assert values(black, option) == values(whole, option), option
