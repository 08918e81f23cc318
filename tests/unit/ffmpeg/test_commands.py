"""The command lines as data: what decides the pictures and the bytes is in them, once, where it belongs."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from streamwave.ffmpeg.commands import EncoderSettings, fill_argv, transcode_argv, vbv_bps
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


def test_frames_are_put_on_the_grid_and_counted() -> None:
    (graph,) = values(argv(), "-filter_complex")
    stages = [stage.split("=")[0].split("]")[-1] for stage in graph.split(";")]
    assert stages[:8] == ["bwdif", "sidedata", "settb", "setpts", "fps", "tpad", "trim", "split"]
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
    assert values(command, "-preset") == ["medium"] * 2 and values(command, "-crf") == ["19"] * 2
    assert set(values(command, "-threads")) == {"3"}
    assert values(command, "-video_track_timescale") == ["30000"] * 2
    assert all("bitexact" in flags for flags in values(command, "-flags") + values(command, "-fflags"))
    assert argv() == argv()


def test_a_chunk_keeps_within_its_maximum_on_average() -> None:
    # x264 takes 0.56 s more out of its buffer than comes in: with it the chunk is at its maximum.
    for frames in (1, 30, 60, 300, 900):
        bps = vbv_bps(2_800_000, chunk(frame_count=frames, segments=(frames,)))
        seconds = max(frames / NTSC, Fraction(1))
        assert bps * (seconds + Fraction(56, 100)) <= 2_800_000 * seconds
        assert bps * (seconds + Fraction(56, 100)) > 2_790_000 * seconds
    assert (
        values(argv(), "-maxrate")
        == values(argv(), "-bufsize")
        == [str(vbv_bps(r.max_bps, chunk())) for r in (LARGE, SMALL)]
    )


def test_names_with_special_characters_stay_one_argument() -> None:
    odd = chunk(video_path="/spool/a b'c;[d],e=f\\g.mkv")
    assert values(argv(odd), "-i") == ["/spool/a b'c;[d],e=f\\g.mkv"]


def test_a_stand_in_has_the_same_encoding() -> None:
    black = fill_argv("/bin/ffmpeg", chunk(), Path("/w/x.mp4"), LARGE, EncoderSettings())
    whole = transcode_argv("/bin/ffmpeg", chunk(), {"720p": Path("/w/x.mp4")}, {"720p": LARGE}, EncoderSettings())
    for option in (
        "-preset",
        "-crf",
        "-maxrate",
        "-g",
        "-force_key_frames",
        "-video_track_timescale",
        "-movflags",
        "-flags",
    ):
        assert values(black, option) == values(whole, option), option
