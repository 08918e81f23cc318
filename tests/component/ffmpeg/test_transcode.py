"""A chunk becomes exactly its frames, alone or together with others, and what is not right does not get through."""

from __future__ import annotations

import os
import signal
import threading
from fractions import Fraction
from pathlib import Path

import av
import pytest

from streamwave.errors import FFmpegError, MediaError, TooCostlyError
from streamwave.ffmpeg.commands import EncoderSettings
from streamwave.ffmpeg.limits import ChunkLimits
from streamwave.ffmpeg.process import Launcher
from streamwave.ffmpeg.shared_decode import SharedDecode
from streamwave.ffmpeg.transcode import Transcoder, check_video, wrap_audio
from streamwave.model import Chunk, Rendition, VideoInfo
from streamwave.mp4 import read_fragment, read_init, split_file, video_init
from streamwave.receive.chunkfile import VideoChunk
from tests.support.cli import slow_ffmpeg
from tests.support.disk import fill, small_disk
from tests.support.media import ffmpeg, ffmpeg_path, make_clip
from tests.support.player import decode_pictures
from tests.support.processes import wait_for

RATE = Fraction(25)
LARGE = Rendition(name="large", kind="video", width=160, height=90, max_bps=300_000)
SMALL = Rendition(name="small", kind="video", width=80, height=46, max_bps=150_000)
AUDIO = Rendition(name="audio", kind="audio", max_bps=128_000)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty pictures with B-frames, in Matroska as the spool has them."""
    return make_clip(tmp_path_factory.mktemp("source") / "000000.mkv", RATE, 40, audio=False).path


@pytest.fixture
def transcoder(tmp_path: Path) -> Transcoder:
    return Transcoder(ffmpeg_path(), EncoderSettings("ultrafast"), Launcher(2), tmp_path / "work", 60)


def chunk(source: Path, frame_count: int = 40, *, first_frame: int = 0, segments: tuple[int, ...] = ()) -> Chunk:
    return Chunk(
        number=7, rate=RATE, first_frame=first_frame, frame_count=frame_count, segments=segments or (frame_count,),
        video_path=str(source), audio_path=None,
    )  # fmt: skip


def numbers(path: Path) -> list[int]:
    return [picture.number for picture in decode_pictures(path.read_bytes(), 25_000)]


def test_every_frame_once(transcoder: Transcoder, source: Path) -> None:
    wanted = chunk(source, segments=(20, 20))
    transcoder.encode(wanted, [LARGE, SMALL])
    for rendition in (LARGE, SMALL):
        path = transcoder.result_path(wanted, rendition.name)
        pictures = decode_pictures(path.read_bytes(), 25_000)
        assert [p.number for p in pictures] == list(range(40))
        init, fragments = split_file(path.read_bytes())
        assert [read_fragment(f, read_init(init)).sample_count for f in fragments] == [20, 20]
    assert sorted(path.name for path in (transcoder.work / "000007").iterdir()) == ["large.mp4", "small.mp4"]


def test_the_grid_decides_how_many(transcoder: Transcoder, source: Path) -> None:
    """More places than pictures: the last one stays. Fewer: the rest belongs to nobody."""
    for count in (43, 37):
        wanted = chunk(source, count)
        transcoder.encode(wanted, [SMALL])
        assert numbers(transcoder.result_path(wanted, "small")) == [*range(min(count, 40)), *[39] * (count - 40)]


@pytest.mark.parametrize("rate", [Fraction(1), Fraction(2), Fraction(12)])
@pytest.mark.parametrize("count", [2, 3, 12])
def test_the_last_picture_shows_however_short_ffmpeg_takes_it_to_be(
    tmp_path: Path, transcoder: Transcoder, rate: Fraction, count: int
) -> None:
    """The spool's files do not say, and FFmpeg makes a guess of the first pictures: a slide show at 25 a second."""
    options = ("-c:v", "prores_ks", "-profile:v", "1")
    slides = make_clip(tmp_path / "a.mov", rate, count, audio=False, size="160x90", options=options)
    with av.open(str(slides.path)) as container:
        spooled = VideoChunk(tmp_path, 0, container.streams.video[0], 0)
        for number, packet in enumerate(packet for packet in container.demux(video=0) if packet.size):
            spooled.write(packet, round(number * 1000 / rate), round(1000 / rate))
    spooled.close()
    wanted = chunk(spooled.path, count).model_copy(update={"rate": rate})
    transcoder.encode(wanted, [LARGE])
    pictures = decode_pictures(transcoder.result_path(wanted, "large").read_bytes(), wanted.grid.timescale)
    assert [picture.number for picture in pictures] == list(range(count))


def test_a_chunk_may_have_hundreds_of_segments(transcoder: Transcoder, source: Path) -> None:
    """A screen on which nothing moves has no keyframe for minutes."""
    wanted = chunk(source, 1200, segments=(3,) * 400)
    for make in (lambda: transcoder.encode(wanted, [SMALL]), lambda: transcoder.put_filler(wanted, SMALL)):
        make()
        init, fragments = split_file(transcoder.result_path(wanted, "small").read_bytes())
        assert [read_fragment(fragment, read_init(init)).sample_count for fragment in fragments] == [3] * 400


def test_together_and_alone_give_the_same_bytes(transcoder: Transcoder, source: Path) -> None:
    wanted = chunk(source)
    transcoder.encode(wanted, [LARGE, SMALL])
    together = {r.name: transcoder.result_path(wanted, r.name).read_bytes() for r in (LARGE, SMALL)}
    for rendition in (LARGE, SMALL):
        transcoder.encode(wanted, [rendition])
        assert transcoder.result_path(wanted, rendition.name).read_bytes() == together[rendition.name]


def test_encoding_again_gives_the_same_bytes(tmp_path: Path) -> None:
    """Also where the maximum decides and the source is damaged: threads of x264 and of a decoder would race there."""
    noise = ("-f", "lavfi", "-i", "testsrc2=s=640x360:r=25:d=2,noise=alls=20:allf=t")
    ffmpeg(*noise, "-c:v", "libx264", "-preset", "veryfast", "-bf", "2", str(tmp_path / "a.mkv"))
    damaged = bytearray((tmp_path / "a.mkv").read_bytes())
    for place in range(len(damaged) // 10, len(damaged) - 1000, len(damaged) // 50):
        damaged[place : place + 8] = b"\xa5" * 8
    (tmp_path / "a.mkv").write_bytes(damaged)
    made = Transcoder(ffmpeg_path(), EncoderSettings(), Launcher(2), tmp_path / "work", 60)
    wanted = chunk(tmp_path / "a.mkv", 50)
    results = set()
    for _ in range(4):
        made.encode(wanted, [LARGE, SMALL])
        results.add(tuple(made.result_path(wanted, r.name).read_bytes() for r in (LARGE, SMALL)))
    assert len(results) == 1


@pytest.mark.parametrize("preset", ["ultrafast", "superfast", "medium", "veryslow"])
def test_the_init_segment_does_not_depend_on_the_chunk(tmp_path: Path, source: Path, preset: str) -> None:
    """The bit rates lie so that x264 left to itself would write another level for longer chunks."""
    made = Transcoder(ffmpeg_path(), EncoderSettings(preset), Launcher(2), tmp_path / "work", 60)
    inits = set()
    for frames in (1, 2, 7, 25, 40, 200):
        wanted = chunk(source, frames)
        made.encode(wanted, [LARGE.model_copy(update={"max_bps": 450_000})])
        inits.add(video_init(split_file(made.result_path(wanted, "large").read_bytes())[0]))
    assert len(inits) == 1


def test_not_even_noise_gets_far_beyond_the_maximum(tmp_path: Path) -> None:
    """Chunks of which each starts with a full buffer."""
    noise = ("-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=2,noise=alls=60:allf=t")
    ffmpeg(*noise, "-c:v", "libx264", "-preset", "ultrafast", "-crf", "10", str(tmp_path / "a.mkv"))
    made = Transcoder(ffmpeg_path(), EncoderSettings(), Launcher(2), tmp_path / "work", 60)
    wanted = chunk(tmp_path / "a.mkv", 50)
    rendition = Rendition(name="x", kind="video", width=320, height=180, max_bps=600_000)
    made.encode(wanted, [rendition])
    init, fragments = split_file(made.result_path(wanted, "x").read_bytes())
    bits = 8 * sum(sum(read_fragment(f, read_init(init)).sizes) for f in fragments)
    assert 0.8 < bits / (2 * 600_000) < 1.1


def test_a_stand_in_has_the_frames_and_the_init_of_the_real_one(transcoder: Transcoder, source: Path) -> None:
    wanted = chunk(source, segments=(20, 20))
    transcoder.encode(wanted, [LARGE])
    real = transcoder.result_path(wanted, "large").read_bytes()
    transcoder.put_filler(wanted, LARGE)
    black = transcoder.result_path(wanted, "large").read_bytes()
    assert split_file(black)[0] == split_file(real)[0]
    assert {p.number for p in decode_pictures(black, 25_000)} == {0}  # black is no block set
    check_video(black, wanted, "black")


def test_damage_fails_and_leaves_nothing(transcoder: Transcoder, tmp_path: Path) -> None:
    (tmp_path / "bad.mkv").write_bytes(b"nothing")
    with pytest.raises(FFmpegError, match="chunk 7 to large, small: FFmpeg failed"):
        transcoder.encode(chunk(tmp_path / "bad.mkv"), [LARGE, SMALL])
    assert list((transcoder.work / "000007").iterdir()) == []


@pytest.mark.parametrize("left", [0, 1, 2, 3, 4, 5], ids=lambda pages: f"{4 * pages} kB left")
def test_a_full_disk_is_no_fault_of_the_chunk(source: Path, tmp_path: Path, left: int) -> None:
    """The picture may be given up for damage, never for a lack of space; FFmpeg itself calls a torn result a success."""
    with small_disk(tmp_path / "disk", 400) as disk:
        full = Transcoder(ffmpeg_path(), EncoderSettings("ultrafast"), Launcher(1), disk / "work", 60)
        wanted = chunk(source, segments=(20, 20))
        full.result_path(wanted, "large").parent.mkdir(parents=True)
        ballast = fill(disk, but=4096 * left)
        with pytest.raises(OSError, match="No space left on device"):
            full.encode(wanted, [LARGE, SMALL])
        ballast.unlink()
        assert list((full.work / "000007").iterdir()) == []
        full.encode(wanted, [LARGE, SMALL])
        assert numbers(full.result_path(wanted, "large")) == list(range(40))


def test_another_count_does_not_get_through(transcoder: Transcoder, source: Path) -> None:
    transcoder.encode(chunk(source), [SMALL])
    data = transcoder.result_path(chunk(source), "small").read_bytes()
    message = r"chunk 7: FFmpeg produced 40 frames in segments of \[40\], expected 41 in segments of \[20, 21\]"
    with pytest.raises(MediaError, match=message):
        check_video(data, chunk(source, 41, segments=(20, 21)), "chunk 7")


def test_sound_is_wrapped_as_it_came(transcoder: Transcoder, tmp_path: Path) -> None:
    make_clip(tmp_path / "a.aac", RATE, 50, video=False)
    from streamwave.mp4 import read_adts

    frames = read_adts((tmp_path / "a.aac").read_bytes())
    wanted = Chunk(
        number=2, rate=RATE, first_frame=50, frame_count=50, segments=(25, 25), video_path=None,
        audio_path=str(tmp_path / "a.aac"), audio_first=94, audio_count=len(frames),
    )  # fmt: skip
    init, fragments = split_file(wrap_audio(transcoder, wanted, AUDIO).read_bytes())
    found = [read_fragment(fragment, read_init(init)) for fragment in fragments]
    assert [f.time for f in found] == [94 * 1024, 141 * 1024]
    samples = [
        fragment[position : position + size]
        for fragment, summary in zip(fragments, found, strict=True)
        for position, size in zip(summary.positions, summary.sizes, strict=True)
    ]
    assert samples == frames
    with pytest.raises(MediaError, match=f"chunk 2 audio: its file has {len(frames)} AAC frames, expected 90"):
        wrap_audio(transcoder, wanted.model_copy(update={"audio_count": 90}), AUDIO)


# --- sharing a decode -------------------------------------------------------------------------------------------------


def encode_all(
    shared: SharedDecode, transcoder: Transcoder, wanted: Chunk, expected: int = 2
) -> dict[str, BaseException | None]:
    """Let every rendition ask for itself, as the task runs do; how each ended."""
    ended: dict[str, BaseException | None] = {}

    def ask(rendition: Rendition) -> None:
        try:
            shared.encode(transcoder, wanted, rendition, expected)
            ended[rendition.name] = None
        except Exception as error:
            ended[rendition.name] = error

    threads = [threading.Thread(target=ask, args=(rendition,)) for rendition in (SMALL, LARGE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return ended


def logged(tmp_path: Path, transcoder: Transcoder, part: str = "-never-") -> tuple[Transcoder, Path]:
    """A transcoder whose starts are listed in a file."""
    stand_in = slow_ffmpeg(tmp_path / "ffmpeg", part, once=True)
    return Transcoder(
        str(stand_in), transcoder.encoder, transcoder.launcher, transcoder.work, 60
    ), stand_in.parent / "starts"


def test_the_tasks_of_a_chunk_share_one_process(tmp_path: Path, transcoder: Transcoder, source: Path) -> None:
    counted, starts = logged(tmp_path, transcoder)
    assert encode_all(SharedDecode(), counted, chunk(source)) == {"large": None, "small": None}
    assert len(starts.read_text().splitlines()) == 1
    assert numbers(counted.result_path(chunk(source), "large")) == numbers(counted.result_path(chunk(source), "small"))


def test_nobody_waits_for_one_that_does_not_come(tmp_path: Path, transcoder: Transcoder, source: Path) -> None:
    counted, starts = logged(tmp_path, transcoder)
    assert encode_all(SharedDecode(), counted, chunk(source), expected=3) == {"large": None, "small": None}
    assert len(starts.read_text().splitlines()) == 1


def test_a_failure_is_everybodys_and_a_retry_is_alone(tmp_path: Path, transcoder: Transcoder, source: Path) -> None:
    counted, starts = logged(tmp_path, transcoder, part="large.")
    shared = SharedDecode()
    ended: dict[str, BaseException | None] = {}
    asking = threading.Thread(target=lambda: ended.update(encode_all(shared, counted, chunk(source))))
    asking.start()
    (process,) = wait_for(lambda: list(counted.launcher._running), "the shared process")
    wait_for(starts.exists, "it to have started")
    os.kill(process.pid, signal.SIGKILL)
    asking.join(60)
    assert isinstance(ended["large"], FFmpegError) and isinstance(ended["small"], FFmpegError)
    assert ended["large"].returncode == -signal.SIGKILL
    shared.encode(counted, chunk(source), SMALL, 2, alone=True)
    assert numbers(counted.result_path(chunk(source), "small")) == list(range(40))
    assert "large" not in starts.read_text().splitlines()[-1]
    # Another chunk begins anew.
    assert encode_all(shared, counted, chunk(source).model_copy(update={"number": 8})) == {"large": None, "small": None}


def test_pictures_that_are_larger_than_their_source_was_said_to_be_are_not_decoded(
    tmp_path: Path, source: Path
) -> None:
    """Whatever the header of the source has said, and the segmenter has believed."""
    encoder = EncoderSettings("ultrafast", max_pixels=100 * 100)
    bounded = Transcoder(ffmpeg_path(), encoder, Launcher(2), tmp_path / "work", 60)
    with pytest.raises(TooCostlyError, match="found frames that are larger than STREAMWAVE_MAX_PIXELS allows"):
        bounded.encode(chunk(source), [SMALL])


def test_a_chunk_that_needs_too_much_memory_says_so(tmp_path: Path, source: Path) -> None:
    limits = ChunkLimits(memory_mb=40)
    bounded = Transcoder(ffmpeg_path(), EncoderSettings("ultrafast"), Launcher(2), tmp_path / "work", 60, limits)
    with pytest.raises(FFmpegError):
        bounded.encode(chunk(source), [LARGE, SMALL])


def test_cpu_time_is_in_proportion_to_pixels_and_presets(source: Path) -> None:
    limits = ChunkLimits(cpu_factor=20)
    video = VideoInfo(codec="h264", width=1920, height=1080)
    full = Rendition(name="1080p", kind="video", width=1920, height=1080, max_bps=5_000_000)
    usual = chunk(source, 50)

    def cpu_s(which: Chunk = usual, preset: str = "superfast", seen: VideoInfo = video) -> int:
        return limits.process(which, seen, [full], preset).cpu_s

    assert 30 + 20 < cpu_s() < 30 + 60
    assert cpu_s(usual.model_copy(update={"pictures": 500})) > 4 * (cpu_s() - 30)  # a lead before it is decoded as well
    assert cpu_s(preset="veryslow") > 10 * (cpu_s() - 30)
    assert cpu_s(seen=video.model_copy(update={"width": 7680, "height": 4320})) > 8 * (cpu_s() - 30)
    # Twenty minutes of a slot is what a chunk of two seconds never gets, were it 8K.
    assert cpu_s(seen=video.model_copy(update={"width": 8192, "height": 4320})) < 400
