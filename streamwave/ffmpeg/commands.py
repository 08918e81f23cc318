"""FFmpeg command lines as pure functions: a chunk and renditions in, argv out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import ffmpeg

from streamwave.ffmpeg.level import h264_level
from streamwave.ffmpeg.picture import converted, standard, upright
from streamwave.model import CONTAINERS, Chunk, Rendition, VideoInfo


@dataclass(frozen=True)
class EncoderSettings:
    """What decides the bytes of a rendition besides the pictures: all machines of a stream must agree on it.

    ``threads`` beyond 1 gives other bytes at every try: x264 plans a picture under ``maxrate`` by how far the threads on
    the pictures before have come, and a decoder conceals damage with what its other threads have finished.
    ``video`` is what the probe found (None: pictures that need no treatment); ``zimg`` whether FFmpeg has its filter.
    """

    preset: str = "superfast"
    crf: int = 23
    threads: int = 1
    video: VideoInfo | None = None
    b_frames: bool = True
    zimg: bool = True


_GLOBAL = ("-hide_banner", "-nostdin", "-loglevel", "error", "-y")


def fill_argv(ffmpeg_path: str, chunk: Chunk, path: Path, rendition: Rendition, encoder: EncoderSettings) -> list[str]:
    """A black stand-in for ``chunk`` in one rendition, for when nothing of it can be decoded."""
    rate = f"{chunk.rate.numerator}/{chunk.rate.denominator}"
    black = ffmpeg.input(f"color=black:size={rendition.width}x{rendition.height}:rate={rate}", format="lavfi").video
    black = black.filter("trim", end_frame=chunk.frame_count)
    made = ffmpeg.output(
        standard(black, rendition, converted(encoder.video)), str(path), **_encode_options(chunk, rendition, encoder)
    ).global_args(*_GLOBAL)
    return [str(part) for part in made.compile(cmd=ffmpeg_path)]


def transcode_argv(
    ffmpeg_path: str,
    chunk: Chunk,
    outputs: Mapping[str, Path],
    renditions: Mapping[str, Rendition],
    encoder: EncoderSettings,
) -> list[str]:
    """One FFmpeg process that decodes ``chunk`` once and writes every rendition named in ``outputs``.

    Each output has exactly ``chunk.frame_count`` pictures, starts at time 0 in the timescale of the chunk's grid, and
    begins a fragment with an IDR picture at every segment of the chunk.
    """
    assert chunk.video_path is not None
    rate = chunk.rate
    source = ffmpeg.input(
        str(chunk.video_path),
        format=CONTAINERS[Path(chunk.video_path).suffix[1:]],
        protocol_whitelist="file",
        threads=encoder.threads,
        **({"itsoffset": f"-{chunk.later_ms}ms"} if chunk.later_ms else {}),
        # The filters turn the pictures; the mark that asks for it may have got lost on the way, or not.
        noautorotate=None,
    )
    alone = chunk.frame_count == 1
    placed = (
        upright(source.video, encoder.video, alone=alone)
        # From milliseconds to the number of the picture on the grid: the time base becomes one frame, rounded to nearest.
        .filter("settb", f"{rate.denominator}/{rate.numerator}")
        .filter("setpts", f"PTS-{chunk.first_frame}")
    )
    if alone:
        # The next filter drops a picture that lasts no time, and not every file tells how long its only one does: another
        # after it shows.
        placed = placed.filter("trim", start_pts=0).filter("tpad", stop=1, stop_mode="clone").filter("setpts", "N")
    pictures = (
        # Fill holes by repeating, drop what falls on a taken place; the chunk begins at its first place.
        placed.filter("fps", fps=f"{rate.numerator}/{rate.denominator}", start_time=0)
        # The filter above can't know where the next chunk begins: repeat the last picture up to there, and not beyond.
        .filter("tpad", stop=-1, stop_mode="clone")
        .filter("trim", end_frame=chunk.frame_count)
    )
    copies = pictures.filter_multi_output("split", len(outputs))
    made = [
        ffmpeg.output(
            standard(copies[index], renditions[name], encoder.video, zimg=encoder.zimg),
            str(path),
            **_encode_options(chunk, renditions[name], encoder),
        )
        for index, (name, path) in enumerate(outputs.items())
    ]
    # Times in the chunk's file are the session's: keep them.
    whole = ffmpeg.merge_outputs(*made).global_args(*_GLOBAL, "-copyts")
    return [str(part) for part in whole.compile(cmd=ffmpeg_path)]


#: Seconds' worth of bits that x264 takes from its full buffer within a chunk, as measured (``benchmarks/quality.py``).
_HEAD_START_S = Fraction(56, 100)


def vbv_bps(max_bps: int, chunk: Chunk) -> int:
    """Rate of the encoder's one-second buffer with which the whole chunk stays within ``max_bps`` on average.

    x264 begins every encode with nine tenths of the buffer filled. That is once per stream elsewhere; here it would be
    once per chunk, and the sum of the chunks would exceed the maximum. It never spends all of it; what it does is what
    counts here. Only noise, which cannot be compressed, gets a few percent beyond the maximum.
    """
    seconds = max(chunk.frame_count / chunk.rate, Fraction(1))
    return int(max_bps * seconds / (seconds + _HEAD_START_S))


def _encode_options(chunk: Chunk, rendition: Rendition, encoder: EncoderSettings) -> dict[str, object]:
    peak_bps = vbv_bps(rendition.max_bps, chunk)
    edges, frame = [], 0
    for length in chunk.segments:
        edges.append(frame)
        frame += length
    return {
        "c:v": "libx264",
        "preset": encoder.preset,
        # 8x8dct: part of what makes it the High profile, which the fastest preset leaves out. chromaloc: the usual place
        # of colour samples, whatever the source's was; x264 would write that into what the init segment is made of.
        # zones: an encode's first predicted pictures are coded too coarsely, because its measure of complexity has seen
        # nothing but an intra picture; in a whole-file run that is once, here it would show at every seam.
        "x264-params": "8x8dct=1:chromaloc=0:zones=0,2,b=1.5",
        "profile:v": "high",
        "level": h264_level(rendition.width, rendition.height, chunk.rate, rendition.max_bps),
        "crf": encoder.crf,
        "maxrate": peak_bps,
        "bufsize": peak_bps,  # one second
        "threads": encoder.threads,
        # IDR pictures where segments begin and nowhere else; no picture refers across one.
        "force_key_frames": "expr:" + "+".join(f"eq(n,{edge})" for edge in edges),
        "forced-idr": 1,
        # Never reached. A constant, because x264 derives parts of the init segment from it.
        "g": 100_000,
        "sc_threshold": 0,
        # Live: pictures in the order in which they are shown (docs/decisions/0005-timing-inside-segments.md).
        **({} if encoder.b_frames else {"bf": 0}),
        "flags": "+cgop+bitexact",
        "fps_mode": "passthrough",  # the filters above have the last word on which pictures there are
        "video_track_timescale": chunk.grid.timescale,
        "f": "mp4",
        # One fragment per IDR, no index boxes, and no encoder names that differ between machines.
        "movflags": "+cmaf+frag_keyframe+frag_discont+skip_sidx+skip_trailer",
        "fflags": "+bitexact",
        "map_metadata": -1,
    }
