"""Video quality of our renditions against one FFmpeg run over the whole file: ``python -m benchmarks.quality [SOURCE]``.

Both use the same settings and the same positions of IDR pictures. Our chunks know nothing of each other; the whole-file run
does without the measures that compensate for that (``streamwave.ffmpeg.commands``). Each frame is compared with the
source's: by VMAF if an available FFmpeg has libvmaf, else by SSIM.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from benchmarks.measure import run
from streamwave.cli.demo import make_clip
from streamwave.config.settings import Settings
from streamwave.ffmpeg.commands import EncoderSettings, transcode_argv
from streamwave.ffmpeg.locate import locate
from streamwave.ffmpeg.probe import probe
from streamwave.model import Chunk, ChunkRecord, Rendition
from streamwave.pipeline import ladder as ladders
from streamwave.receive.segmenter import Segmenter
from streamwave.sources.address import resolve_source
from streamwave.spool.follow import Follower
from streamwave.spool.options import Options
from streamwave.timing import Grid, split_evenly
from streamwave.util.programs import ask

#: By how much our mean and 5th percentile may be lower (of 100), and the maximum ratio of our bits to the reference's.
TARGET, TARGET_BITS = 0.3, 1.005
#: Frames on each side of a seam that are evaluated as "around" it.
AROUND = 2
TIMEOUT_S = 3600
GRAIN = 10
#: Chunk length. A source with too few keyframes for MIN_CHUNKS is first re-encoded with more, as for streaming.
CHUNK_MS, MIN_CHUNKS = 2000, 3
#: Bits that x264 takes once from its default buffer (one second, nine tenths full at the start), in seconds of its rate.
HEAD_START_S = Fraction(56, 100)


@dataclass(frozen=True)
class Quality:
    """One encode: a score per frame, and its total ``bits``."""

    scores: tuple[float, ...]
    bits: int

    @property
    def mean(self) -> float:
        return statistics.fmean(self.scores)

    @property
    def low(self) -> float:
        """5th percentile."""
        return sorted(self.scores)[len(self.scores) * 5 // 100]

    def around(self, seams: Sequence[int]) -> float:
        """Mean score of the frames around ``seams``; of all frames if there are no seams."""
        near = {n for seam in seams for n in range(seam - AROUND, seam + AROUND) if 0 <= n < len(self.scores)}
        return statistics.fmean([self.scores[n] for n in near] or self.scores)


@dataclass(frozen=True)
class Judge:
    """An FFmpeg program and the metric that it can compute."""

    ffmpeg: str
    vmaf: bool

    def scores(self, made: Path, source: Path, chunk: Chunk, size: tuple[int, int]) -> tuple[float, ...]:
        """Score of every frame of ``made`` against ``source`` on the same grid, both scaled to ``size``."""
        rate = f"{chunk.rate.numerator}/{chunk.rate.denominator}"
        tick = f"settb={chunk.rate.denominator}/{chunk.rate.numerator}"
        frame = f"{tick},fps={rate}:start_time=0"
        scale = f"scale={size[0]}:{size[1]}:flags=bicubic,format=yuv420p,setsar=1,{tick},setpts=N"
        log = made.with_suffix(".log")
        metric = f"libvmaf=log_fmt=json:log_path={log}:n_threads=2" if self.vmaf else f"ssim=stats_file={log}"
        graph = (
            f"[0:v]{scale}[made];[1:v]{frame},trim=end_frame={chunk.frame_count},{scale}[source];[made][source]{metric}"
        )
        argv = [self.ffmpeg, "-v", "error", "-nostdin", "-i", str(made), "-i", str(source)]
        run([*argv, "-filter_complex", graph, "-f", "null", "-"], timeout_s=TIMEOUT_S)
        if self.vmaf:
            return tuple(frame["metrics"]["vmaf"] for frame in json.loads(log.read_bytes())["frames"])
        return tuple(100 * float(score) for score in re.findall(r" All:([\d.]+)", log.read_text()))


def judge() -> Judge:
    """The system's FFmpeg, or the one from pip, whichever has libvmaf."""
    import imageio_ffmpeg

    for path in (locate().path, str(imageio_ffmpeg.get_ffmpeg_exe())):
        if " libvmaf " in ask(path, "-hide_banner", "-filters"):
            return Judge(path, True)
    print(
        "no available FFmpeg has libvmaf: comparing by SSIM (out of 100), which misses some differences that viewers see"
    )
    return Judge(locate().path, False)


def chunks_of(url: str, folder: Path, segment_ms: int) -> list[Chunk]:
    """Cut the source into chunks as a live stream would be."""
    folder.mkdir()
    Segmenter(Options(source=url, spool=folder, segment_ms=segment_ms)).run()
    follower = Follower(folder, alive=lambda: False)
    records: list[ChunkRecord] = list(follower.chunks(lambda: None))
    assert follower.opened is not None and follower.opened.rate is not None
    grid, found = Grid(follower.opened.rate), []
    for record in records:
        if record.video_file is None:
            continue
        first, after = grid.frame_at_ms(record.start_ms), grid.frame_at_ms(record.next_ms)
        found.append(
            Chunk(
                number=record.number, rate=grid.rate, first_frame=first, frame_count=after - first,
                segments=split_evenly(after - first, grid.rate * 2), video_path=str(folder / record.video_file),
                audio_path=None,
            )
        )  # fmt: skip
    return found


def with_keyframes(ffmpeg: str, source: str, path: Path) -> str:
    """Re-encode ``source`` almost losslessly with a keyframe for every chunk."""
    argv = [
        ffmpeg,
        "-v",
        "error",
        "-nostdin",
        "-i",
        source,
        "-an",
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-crf",
        "6",
    ]
    argv += ["-force_key_frames", f"expr:gte(t,n_forced*{CHUNK_MS / 1000})", "-sc_threshold", "0", "-flags", "+cgop"]
    run([*argv, str(path)], timeout_s=TIMEOUT_S)
    return resolve_source(str(path))


def plain(argv: Sequence[str], chunk: Chunk, renditions: Sequence[Rendition], crf: int) -> list[str]:
    """``argv`` with x264's default rate control, as in a whole-file run, and the same average maximum over the file."""
    seconds = max(chunk.frame_count / chunk.rate, Fraction(1))
    maxima = [str(int(r.max_bps * seconds / (seconds + HEAD_START_S))) for r in renditions]
    values = {name: iter(maxima) for name in ("-maxrate", "-bufsize")}
    values |= {"-crf": iter([str(crf)] * len(renditions)), "-x264-params": iter(["8x8dct=1"] * len(renditions))}
    given = list(argv)
    for place, name in enumerate(argv):
        if name in values:
            given[place + 1] = next(values[name])
    return given


def encode(
    ffmpeg: str, chunks: Sequence[Chunk], renditions: Sequence[Rendition], encoder: EncoderSettings, folder: Path,
    *, plainly: bool = False,
) -> tuple[dict[str, Path], float]:  # fmt: skip
    """Encode ``chunks`` into one file per rendition; return the files and the CPU seconds of all encodes."""
    folder.mkdir()
    spent = 0.0
    for chunk in chunks:
        parts = {r.name: folder / f"{r.name}-{chunk.number:06d}.mp4" for r in renditions}
        argv = transcode_argv(ffmpeg, chunk, parts, {r.name: r for r in renditions}, encoder)
        argv = plain(argv, chunk, renditions, encoder.crf) if plainly else argv
        spent += run(argv, timeout_s=TIMEOUT_S).cpu_s
    joined = {}
    for rendition in renditions:
        # Join raw byte streams, so that containers do not affect the result.
        stream = folder / f"{rendition.name}.h264"
        with stream.open("wb") as out:
            for chunk in chunks:
                part = folder / f"{rendition.name}-{chunk.number:06d}.mp4"
                argv = [ffmpeg, "-v", "error", "-i", str(part), "-c", "copy", "-f", "h264", "pipe:1"]
                out.write(subprocess.run(argv, check=True, timeout=TIMEOUT_S, capture_output=True).stdout)
        joined[rendition.name] = stream
    return joined, spent


def main(source: str | None = None, seconds: int = 20) -> bool:
    """Measure and print; return whether every rendition meets the targets."""
    settings = Settings.load()
    ffmpeg = locate(str(settings.ffmpeg_path) if settings.ffmpeg_path else None).path
    by = judge()
    good = True
    with tempfile.TemporaryDirectory(prefix="streamwave-quality-") as name:
        root = Path(name)
        if source is None:
            clip = root / "clip.mp4"
            make_clip(ffmpeg, clip, seconds, grain=GRAIN)
            source = str(clip)
        url = resolve_source(source)
        info = probe(url)
        assert info.video is not None, "the source has no video"
        renditions = [r for r in ladders.plan(info, ladders.load_ladder(settings.ladder)) if r.kind == "video"]
        ours = chunks_of(url, root / "chunks", CHUNK_MS)
        if len(ours) < MIN_CHUNKS:
            url = with_keyframes(ffmpeg, url, root / "keyed.mp4")
            ours = chunks_of(url, root / "keyed-chunks", CHUNK_MS)
        (whole,) = chunks_of(url, root / "whole", 1 << 40)
        # One encode, with IDR pictures where our chunks have them.
        whole = whole.model_copy(update={"segments": tuple(length for chunk in ours for length in chunk.segments)})
        seams = [chunk.first_frame for chunk in ours[1:]]
        metric = "VMAF" if by.vmaf else "SSIM"
        print(f"{whole.frame_count} frames in {len(ours)} chunks, {metric}, preset {settings.preset}")
        for b_frames, kind in ((True, "as a file"), (False, "as live")):
            threads = settings.encoder_threads_for(live=not b_frames)
            encoder = EncoderSettings(settings.preset, settings.crf, threads, info.video, b_frames=b_frames)
            one, cost_one = encode(ffmpeg, [whole], renditions, encoder, root / f"one-{kind}", plainly=True)
            many, cost_many = encode(ffmpeg, ours, renditions, encoder, root / f"many-{kind}")
            print(f"{kind}: {cost_many / cost_one:.3f} times the CPU seconds of one run")
            for rendition in renditions:
                assert whole.video_path is not None
                pair = []
                for made in (one[rendition.name], many[rendition.name]):
                    scores = by.scores(made, Path(whole.video_path), whole, ladders.display_size(info.video))
                    assert len(scores) == whole.frame_count, f"{len(scores)} frames of {whole.frame_count}"
                    pair.append(Quality(scores, made.stat().st_size * 8))
                good &= report(rendition.name, pair[0], pair[1], seams)
    return good


def report(name: str, one: Quality, ours: Quality, seams: Sequence[int]) -> bool:
    """Print the comparison for a rendition; return whether it meets the targets."""
    bits = ours.bits / one.bits
    dip = (ours.around(seams) - ours.mean) - (one.around(seams) - one.mean)
    fine = min(ours.mean - one.mean, ours.low - one.low, dip) >= -TARGET and bits <= TARGET_BITS
    print(
        f"  {name}: mean {one.mean:.2f} -> {ours.mean:.2f}, 5th percentile {one.low:.2f} -> {ours.low:.2f}, "
        f"around seams {one.around(seams):.2f} -> {ours.around(seams):.2f}, bits x{bits:.3f}"
        f"{'' if fine else '  MISSED'}",
        flush=True,
    )
    return fine


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1] if len(sys.argv) > 1 else None) else 1)
