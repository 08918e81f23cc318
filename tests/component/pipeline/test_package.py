"""The reduce step on what FFmpeg really makes: every chunk has the same init segment, its place, and an IDR in front."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from streamwave.errors import MediaError
from streamwave.ffmpeg.commands import EncoderSettings
from streamwave.ffmpeg.process import Launcher
from streamwave.ffmpeg.transcode import Transcoder, wrap_audio
from streamwave.manifest.packaged import PackagedChunk
from streamwave.model import Chunk, Rendition
from streamwave.mp4 import read_fragment, read_init, split_file, starts_with_idr
from streamwave.mp4.boxes import find_all
from streamwave.pipeline.filler import put_filler
from streamwave.pipeline.package import package
from streamwave.receive.segmenter import Segmenter
from streamwave.spool.journal import ChunkLine, JournalReader
from streamwave.spool.options import Options
from streamwave.timing import AAC_FRAME
from tests.support.media import ffmpeg_path, make_clip
from tests.support.player import decode_pictures, decode_sound

RATE = Fraction(30000, 1001)
LARGE = Rendition(name="large", kind="video", width=160, height=90, max_bps=300_000)
SMALL = Rendition(name="small", kind="video", width=106, height=60, max_bps=150_000)
AUDIO = Rendition(name="audio", kind="audio", max_bps=128_000)
ALL = (LARGE, SMALL, AUDIO)
#: Lengths of the chunks in frames; the second is published as two segments.
LENGTHS = (30, 60, 7)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Transcoder, list[Chunk]]:
    """Three chunks of a clip, received and transcoded."""
    folder = tmp_path_factory.mktemp("package")
    keyframes = ("-force_key_frames", "expr:eq(n,30)+eq(n,90)")
    clip = make_clip(folder / "a.mp4", RATE, sum(LENGTHS), gop=1000, options=keyframes)
    Segmenter(Options(source=f"file:{clip.path}", spool=folder / "spool", segment_ms=1000)).run()
    transcoder = Transcoder(ffmpeg_path(), EncoderSettings("ultrafast"), Launcher(2), folder / "work", 60)
    chunks, first = [], 0
    for line in JournalReader(folder / "spool").read():
        if not isinstance(line, ChunkLine):
            continue
        record = line.chunk
        length = LENGTHS[record.number]
        chunk = Chunk(
            number=record.number, rate=RATE, first_frame=first, frame_count=length,
            segments=(30, 30) if length == 60 else (length,),
            video_path=str(folder / "spool" / str(record.video_file)),
            audio_path=str(folder / "spool" / str(record.audio_file)),
            audio_first=record.audio_first, audio_count=record.audio_count,
        )  # fmt: skip
        transcoder.encode(chunk, [LARGE, SMALL])
        wrap_audio(transcoder, chunk, AUDIO)
        chunks.append(chunk)
        first += length
    assert [chunk.frame_count for chunk in chunks] == list(LENGTHS)
    return transcoder, chunks


def results(transcoder: Transcoder, chunk: Chunk) -> dict[str, Path]:
    return {r.name: transcoder.result_path(chunk, r.name) for r in ALL}


def pack(made: tuple[Transcoder, list[Chunk]], work: Path) -> list[PackagedChunk]:
    transcoder, chunks = made
    return [package(chunk, results(transcoder, chunk), ALL, work) for chunk in chunks]


def test_the_init_segment_is_the_same_for_all_chunks(made: tuple[Transcoder, list[Chunk]], tmp_path: Path) -> None:
    packed = pack(made, tmp_path)
    for index, rendition in enumerate(ALL):
        inits = {Path(chunk.tracks[index].init_path).read_bytes() for chunk in packed}
        assert len(inits) == 1, rendition.name
        (init,) = inits
        for chunk in packed:
            track = chunk.tracks[index]
            assert (track.init_sha256, track.init_size) == (hashlib.sha256(init).hexdigest(), len(init))


def test_segments_follow_each_other_over_all_chunks(made: tuple[Transcoder, list[Chunk]], tmp_path: Path) -> None:
    packed = pack(made, tmp_path)
    for index, rendition in enumerate(ALL):
        place = 0
        for chunk in packed:
            track = chunk.tracks[index]
            init = read_init(Path(track.init_path).read_bytes())
            for segment in track.segments:
                data = Path(segment.path).read_bytes()
                assert len(data) == segment.size and segment.time == place
                _, (fragment,) = split_file(Path(track.init_path).read_bytes() + data)
                found = read_fragment(fragment, init)
                assert (found.time, found.duration) == (segment.time, segment.duration)
                assert len(find_all(data, "moof")) == 1
                if rendition.kind == "video":
                    assert starts_with_idr(fragment, init) and found.earliest == segment.time
                place += segment.duration
        if rendition.kind == "video":
            assert place == sum(LENGTHS) * 1001
    grids = [[(s.time, s.duration) for chunk in packed for s in chunk.tracks[index].segments] for index in (0, 1)]
    assert grids[0] == grids[1] == [(n * 1001, length * 1001) for n, length in ((0, 30), (30, 30), (60, 30), (90, 7))]


def test_played_together_they_are_the_clip(made: tuple[Transcoder, list[Chunk]], tmp_path: Path) -> None:
    packed = pack(made, tmp_path)
    for index in (0, 1):
        data = Path(packed[0].tracks[index].init_path).read_bytes()
        data += b"".join(Path(s.path).read_bytes() for chunk in packed for s in chunk.tracks[index].segments)
        pictures = decode_pictures(data, 30000)
        assert [(p.number, p.time) for p in pictures] == [(n, n * 1001) for n in range(sum(LENGTHS))]


def test_twice_gives_the_same(made: tuple[Transcoder, list[Chunk]], tmp_path: Path) -> None:
    first, second = pack(made, tmp_path / "a"), pack(made, tmp_path / "b")
    files = [{p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("*.m*")} for name in "ab"]
    assert files[0] == files[1] and len(files[0]) == 3 * 3 + 4 * 2 + 4
    assert [c.number for c in first] == [c.number for c in second]
    assert PackagedChunk.model_validate_json(first[1].model_dump_json()) == first[1]


def test_what_does_not_fit_is_refused(made: tuple[Transcoder, list[Chunk]], tmp_path: Path) -> None:
    transcoder, chunks = made
    wrong = [
        (
            chunks[0].model_copy(update={"frame_count": 31, "segments": (31,)}),
            "chunk 0 large: the segment at 0 lasts 30030 ticks instead of 31031",
        ),
        (chunks[0].model_copy(update={"segments": (15, 15)}), "chunk 0 large: 1 segments instead of 2"),
        (chunks[0].model_copy(update={"rate": Fraction(25)}), "chunk 0 large: the timescale is 30000 instead of 25000"),
    ]
    for chunk, message in wrong:
        with pytest.raises(MediaError, match=message):
            package(chunk, results(transcoder, chunks[0]), ALL, tmp_path)
    cut = results(transcoder, chunks[0])
    (tmp_path / "cut.mp4").write_bytes(cut["large"].read_bytes()[:-100])
    with pytest.raises(MediaError, match="truncated MP4"):
        package(chunks[0], {**cut, "large": tmp_path / "cut.mp4"}, ALL, tmp_path)


def test_a_result_that_cannot_be_used_has_a_stand_in(made: tuple[Transcoder, list[Chunk]], tmp_path: Path) -> None:
    """Pictures or sound that come out wrong every time must not hold up the stream for ever."""
    transcoder, chunks = made
    usual = pack(made, tmp_path / "usual")[1]
    broken = replace(transcoder, work=tmp_path / "broken")
    for name in ("large", "audio"):
        path = broken.result_path(chunks[1], name)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Those of another chunk: all is well with them, but for their number of frames.
        path.write_bytes(transcoder.result_path(chunks[0], name).read_bytes())
    broken.result_path(chunks[1], "small").write_bytes(transcoder.result_path(chunks[1], "small").read_bytes())
    found = results(broken, chunks[1])
    with pytest.raises(MediaError, match="chunk 1 large"):
        package(chunks[1], found, ALL, broken.work)
    packed = package(chunks[1], found, ALL, broken.work, put_filler=lambda r: put_filler(broken, chunks[1], r))
    assert packed.filled == ("large", "audio") and usual.filled == ()
    for track, wanted in zip(packed.tracks, usual.tracks, strict=True):
        assert [(s.time, s.duration) for s in track.segments] == [(s.time, s.duration) for s in wanted.segments]
        assert track.init_sha256 == wanted.init_sha256
    large, small, audio = ([Path(s.path).read_bytes() for s in track.segments] for track in packed.tracks)
    assert small == [Path(s.path).read_bytes() for s in usual.tracks[1].segments]
    inits = [Path(track.init_path).read_bytes() for track in packed.tracks]
    pictures = list(decode_pictures(inits[0] + b"".join(large), packed.tracks[0].timescale))
    assert len(pictures) == 60
    assert {picture.number for picture in pictures} == {0}  # black; they bear 30 to 89
    sound = decode_sound(inits[2] + b"".join(audio)).samples
    assert len(sound) == chunks[1].audio_count * AAC_FRAME
    assert abs(sound).max() < 1e-4
