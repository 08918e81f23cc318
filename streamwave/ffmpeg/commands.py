"""FFmpeg command lines, built by pure functions from a chunk and renditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import ffmpeg

from streamwave.ffmpeg.level import h264_level
from streamwave.ffmpeg.limits import SourceLimits
from streamwave.ffmpeg.picture import converted, standard, upright
from streamwave.model import CONTAINERS, Chunk, Rendition, VideoInfo


@dataclass(frozen=True)
class EncoderSettings:
    """Everything besides the frames that determines a rendition's bytes; all machines of a stream must use the same.

    With ``threads`` above 1 the bytes differ from run to run: under ``maxrate``, x264 plans a frame by the progress of the
    threads that encode the frames before it, and a decoder conceals damage with whatever its other threads have finished.
    ``video`` is the probe's result (None: frames that need no conversion); ``zimg`` whether FFmpeg has the zscale filter.
    ``numbers`` are parameter set ids other than 0, by rendition (see ``Passthrough``). Frames larger than
    ``max_pixels`` are not
    decoded, whatever size the probe found.
    """

    preset: str = "superfast"
    crf: int = 23
    threads: int = 1
    video: VideoInfo | None = None
    b_frames: bool = True
    zimg: bool = True
    numbers: tuple[tuple[str, int], ...] = ()
    max_pixels: int = SourceLimits.max_pixels

    def numbered(self, rendition: Rendition, number: int) -> EncoderSettings:
        """A copy that uses the parameter set id ``number`` for ``rendition``."""
        return replace(self, numbers=((rendition.name, number),))

    def number(self, rendition: Rendition) -> int:
        """The parameter set id of ``rendition``."""
        return dict(self.numbers).get(rendition.name, 0)


#: In frames.
_MAX_GOP = 100_000
#: Terms per sum in an expression; libavutil's parser accepts about a hundred.
_MAX_TERMS = 50
_GLOBAL = ("-hide_banner", "-nostdin", "-loglevel", "error", "-y")
#: For passthrough every warning of the decoder matters.
_GLOBAL_AS_IS = ("-hide_banner", "-nostdin", "-loglevel", "warning", "-y")


def filler_argv(
    ffmpeg_path: str, chunk: Chunk, path: Path, rendition: Rendition, encoder: EncoderSettings
) -> list[str]:
    """Command that writes filler (black frames) for ``chunk`` in one rendition, for when none of it can be decoded."""
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
    """Command of one FFmpeg process that decodes ``chunk`` once and writes every rendition in ``outputs``.

    Each output has exactly ``chunk.frame_count`` frames, starts at time 0 in the timescale of the chunk's grid, and
    begins a fragment with an IDR picture at every segment of the chunk.
    """
    rate, source = chunk.rate, _opened(chunk, encoder)
    alone = chunk.frame_count == 1
    placed = (
        upright(source.video, encoder.video, alone=alone)
        # The fps filter drops a last frame that lasts less than half a grid step, and some files do not state how long
        # their last frame lasts: append copies of it.
        .filter("tpad", stop_duration=f"{2_000_000 * rate.denominator // rate.numerator}us", stop_mode="clone")
        # From milliseconds to frame numbers on the grid: the time base becomes one frame, rounded to the nearest.
        .filter("settb", f"{rate.denominator}/{rate.numerator}")
        .filter("setpts", f"PTS-{chunk.first_frame}")
    )
    if chunk.held is not None:
        # The file may contain hidden frames after the one that is repeated.
        placed = placed.filter("trim", end_pts=1)
    if alone:
        # The fps filter drops a frame without duration, and some files do not state the duration of their only frame: append
        # a second one.
        placed = placed.filter("trim", start_pts=0).filter("tpad", stop=1, stop_mode="clone").filter("setpts", "N")
    pictures = (
        # Repeat frames to fill gaps, and drop frames whose grid point is taken; the chunk begins at its first grid point.
        placed.filter("fps", fps=f"{rate.numerator}/{rate.denominator}", start_time=0)
        # The fps filter does not know where the next chunk begins: repeat the last frame exactly up to there.
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
    # -copyts: timestamps in the chunk's file are relative to the session and must be kept.
    whole = ffmpeg.merge_outputs(*made).global_args(*(_GLOBAL_AS_IS if chunk.as_is else _GLOBAL), "-copyts")
    return [str(part) for part in whole.compile(cmd=ffmpeg_path)]


def check_argv(ffmpeg_path: str, chunk: Chunk, encoder: EncoderSettings) -> list[str]:
    """Command that decodes ``chunk`` and writes nothing; FFmpeg's messages show whether its frames are intact."""
    made = ffmpeg.output(_opened(chunk, encoder).video, "-", f="null").global_args(*_GLOBAL_AS_IS)
    return [str(part) for part in made.compile(cmd=ffmpeg_path)]


def _opened(chunk: Chunk, encoder: EncoderSettings) -> ffmpeg.Stream:
    assert chunk.video_path is not None
    return ffmpeg.input(
        str(chunk.video_path),
        format=CONTAINERS[Path(chunk.video_path).suffix[1:]],
        protocol_whitelist="file",
        max_pixels=encoder.max_pixels,
        # With several threads, the H.264 decoder does not report all errors.
        threads=1 if chunk.as_is else encoder.threads,
        **({"itsoffset": f"{-chunk.later_ms}ms"} if chunk.later_ms else {}),
        # The filters rotate the frames, because the rotation in the file may not have survived the way here.
        noautorotate=None,
    )


@dataclass(frozen=True)
class _Start:
    """Rate control at the start of a chunk, whose encoder knows nothing of the chunk before (see
    docs/decisions/0013-start-of-chunks.md).

    In the middle of a stream, x264 derives the bits of an IDR picture from earlier frames; at the start it guesses. All values
    are measured (``benchmarks/quality.py``).
    """

    #: How much lower than x264's guess the QP of the first frame is. Most sources need it, those with little motion most.
    finer_qp: Fraction
    #: How much higher than the CRF the QP of all other frames is, to pay for the first one.
    coarser_qp: Fraction
    #: Size of the VBV buffer in seconds of its rate. It starts full, and x264 spends at most half of it on one frame.
    buffer_s: Fraction
    #: Bits that x264 takes from that buffer within a chunk, in seconds of its rate.
    head_start_s: Fraction


_WITH_B_FRAMES = _Start(Fraction(7, 10), Fraction(5, 100), Fraction(110, 100), Fraction(71, 100))
#: Frames are predicted from nearer ones, so their quality is higher, and the first frame must match it.
_WITHOUT_B_FRAMES = _Start(Fraction(3), Fraction(0), Fraction(130, 100), Fraction(88, 100))
#: Frames after the first are coded too coarsely, because the encoder's complexity estimate has seen only the first one.
_UNSETTLED, _UNSETTLED_BITS = 2, 1.2


def vbv_bps(max_bps: int, chunk: Chunk, *, b_frames: bool = True) -> int:
    """Rate of the VBV buffer in bits per second at which the chunk's average stays within ``max_bps``.

    Every chunk starts with a full buffer. An ordinary encode does that once per stream; here the sum of the chunks would exceed
    the maximum. x264 never spends the whole buffer; the measured part counts. Only noise, which cannot be compressed,
    exceeds the maximum, by about a tenth.
    """
    start = _WITH_B_FRAMES if b_frames else _WITHOUT_B_FRAMES
    seconds = max(chunk.duration_s, Fraction(1))
    return int(max_bps * seconds / (seconds + start.head_start_s))


def _rate_control(chunk: Chunk, rendition: Rendition, encoder: EncoderSettings) -> dict[str, object]:
    start = _WITH_B_FRAMES if encoder.b_frames else _WITHOUT_B_FRAMES
    peak_bps = vbv_bps(rendition.max_bps, chunk, b_frames=encoder.b_frames)
    # x264 derives the first frame's QP from the CRF, and zones do not affect it. So lower the CRF, and raise all other frames
    # again with a zone. A CRF below 1 would mean lossless.
    finer_qp = min(start.finer_qp, Fraction(max(encoder.crf - 1, 0)))
    # x264's quantiser step doubles every 6 QP, and a zone divides it by "b".
    fewer_bits = 2 ** float(-(finer_qp + start.coarser_qp) / 6)
    number = encoder.number(rendition)
    zones = f"0,{_MAX_GOP - 1},b={fewer_bits:.4f}/0,{_UNSETTLED},b={_UNSETTLED_BITS * fewer_bits:.4f}"
    return {
        # 8x8dct: part of the High profile, but off in the fastest preset. chromaloc: the default chroma location; x264
        # would otherwise copy the source's into the SPS, and so into the init segment.
        "x264-params": f"8x8dct=1:chromaloc=0:vbv-init=1:{f'sps-id={number}:' if number else ''}zones={zones}",
        "crf": f"{float(encoder.crf - finer_qp):g}",
        "maxrate": peak_bps,
        # At most one second of the maximum bit rate.
        "bufsize": min(int(peak_bps * start.buffer_s), rendition.max_bps),
    }


def _one_of(places: Sequence[int]) -> str:
    """FFmpeg expression that is true at each of ``places``, nested because sums are limited to about a hundred terms."""
    if len(places) <= _MAX_TERMS:
        return "+".join(f"eq(n,{place})" for place in places)
    middle = len(places) // 2
    return f"({_one_of(places[:middle])})+({_one_of(places[middle:])})"


def _encode_options(chunk: Chunk, rendition: Rendition, encoder: EncoderSettings) -> dict[str, object]:
    edges, frame = [], 0
    for length in chunk.segments:
        edges.append(frame)
        frame += length
    return {
        "c:v": "libx264",
        "preset": encoder.preset,
        "profile:v": "high",
        "level": h264_level(rendition.width, rendition.height, chunk.rate, rendition.max_bps),
        **_rate_control(chunk, rendition, encoder),
        "threads": encoder.threads,
        # IDR pictures exactly where segments begin; no frame refers across one.
        "force_key_frames": f"expr:{_one_of(edges)}",
        "forced-idr": 1,
        # Never reached. Constant, because x264 derives parts of the init segment from it.
        "g": _MAX_GOP,
        "sc_threshold": 0,
        # Live: frames in presentation order (docs/decisions/0005-timing-inside-segments.md).
        **({} if encoder.b_frames else {"bf": 0}),
        "flags": "+cgop+bitexact",
        "fps_mode": "passthrough",  # keep exactly the frames that the filters deliver
        "video_track_timescale": chunk.grid.timescale,
        "f": "mp4",
        # One fragment per IDR picture, no index boxes, and no encoder names that differ between machines.
        "movflags": "+cmaf+frag_keyframe+frag_discont+skip_sidx+skip_trailer",
        "fflags": "+bitexact",
        "map_metadata": -1,
    }
