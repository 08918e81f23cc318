"""FFmpeg command lines as pure functions: a chunk and renditions in, argv out."""

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
    """What decides the bytes of a rendition besides the pictures: all machines of a stream must agree on it.

    ``threads`` beyond 1 gives other bytes at every try: x264 plans a picture under ``maxrate`` by how far the threads on
    the pictures before have come, and a decoder conceals damage with what its other threads have finished.
    ``video`` is what the probe found (None: pictures that need no treatment); ``zimg`` whether FFmpeg has its filter.
    ``numbers`` of parameter sets that are not 0, by rendition (see ``Passthrough``). Larger pictures than ``max_pixels`` are
    not decoded, whatever size the source was said to have.
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
        """The same with ``number`` for the parameter sets of ``rendition``."""
        return replace(self, numbers=((rendition.name, number),))

    def number(self, rendition: Rendition) -> int:
        """Number of the parameter sets of ``rendition``."""
        return dict(self.numbers).get(rendition.name, 0)


#: Pictures.
_MAX_GOP = 100_000
#: Terms of a sum, of the hundred that libavutil's parser can take.
_MAX_TERMS = 50
_GLOBAL = ("-hide_banner", "-nostdin", "-loglevel", "error", "-y")
#: Where the source's own pictures are to be shown, everything that the decoder has to say counts.
_GLOBAL_AS_IS = ("-hide_banner", "-nostdin", "-loglevel", "warning", "-y")


def filler_argv(
    ffmpeg_path: str, chunk: Chunk, path: Path, rendition: Rendition, encoder: EncoderSettings
) -> list[str]:
    """Filler for ``chunk`` in one rendition, black pictures, for when nothing of it can be decoded."""
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
    rate, source = chunk.rate, _opened(chunk, encoder)
    alone = chunk.frame_count == 1
    placed = (
        upright(source.video, encoder.video, alone=alone)
        # The filter that fills holes drops a last picture that lasts less than half a place, and not every file tells how
        # long its last one does: copies after it show.
        .filter("tpad", stop_duration=f"{2_000_000 * rate.denominator // rate.numerator}us", stop_mode="clone")
        # From milliseconds to the number of the picture on the grid: the time base becomes one frame, rounded to nearest.
        .filter("settb", f"{rate.denominator}/{rate.numerator}")
        .filter("setpts", f"PTS-{chunk.first_frame}")
    )
    if chunk.held is not None:
        # Hidden pictures may be in its file behind the one that stands still.
        placed = placed.filter("trim", end_pts=1)
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
    whole = ffmpeg.merge_outputs(*made).global_args(*(_GLOBAL_AS_IS if chunk.as_is else _GLOBAL), "-copyts")
    return [str(part) for part in whole.compile(cmd=ffmpeg_path)]


def check_argv(ffmpeg_path: str, chunk: Chunk, encoder: EncoderSettings) -> list[str]:
    """Decode ``chunk`` and write nothing; what FFmpeg says tells whether its pictures are whole."""
    made = ffmpeg.output(_opened(chunk, encoder).video, "-", f="null").global_args(*_GLOBAL_AS_IS)
    return [str(part) for part in made.compile(cmd=ffmpeg_path)]


def _opened(chunk: Chunk, encoder: EncoderSettings) -> ffmpeg.Stream:
    assert chunk.video_path is not None
    return ffmpeg.input(
        str(chunk.video_path),
        format=CONTAINERS[Path(chunk.video_path).suffix[1:]],
        protocol_whitelist="file",
        max_pixels=encoder.max_pixels,
        # With more than one thread the decoder of H.264 keeps some of its complaints to itself.
        threads=1 if chunk.as_is else encoder.threads,
        **({"itsoffset": f"{-chunk.later_ms}ms"} if chunk.later_ms else {}),
        # The filters turn the pictures; the mark that asks for it may have got lost on the way, or not.
        noautorotate=None,
    )


@dataclass(frozen=True)
class _Start:
    """How a chunk's encoder begins, which knows nothing of the chunk before (docs/decisions/0013-start-of-chunks.md).

    In the middle of a stream x264 gives an IDR picture what the pictures before it had; at the beginning it guesses. All
    values are measured (``benchmarks/quality.py``).
    """

    #: By how much finer than the guess the first picture is, in QP. Most sources want that, those that move little most.
    finer_qp: Fraction
    #: By how much coarser all others are than their CRF says, in QP: what the first one costs more.
    coarser_qp: Fraction
    #: Seconds of its rate that the encoder's buffer holds. It begins full, and x264 gives a picture half of it at most.
    buffer_s: Fraction
    #: Seconds' worth of bits that x264 takes from that buffer within a chunk.
    head_start_s: Fraction


_WITH_B_FRAMES = _Start(Fraction(7, 10), Fraction(5, 100), Fraction(110, 100), Fraction(71, 100))
#: Pictures are predicted from nearer ones, so that they are finer, and the first one has to be so too.
_WITHOUT_B_FRAMES = _Start(Fraction(3), Fraction(0), Fraction(130, 100), Fraction(88, 100))
#: Pictures after a first one that are coded too coarsely, as the encoder's measure of complexity has seen nothing else.
_UNSETTLED, _UNSETTLED_BITS = 2, 1.2


def vbv_bps(max_bps: int, chunk: Chunk, *, b_frames: bool = True) -> int:
    """Rate of the encoder's buffer with which the whole chunk stays within ``max_bps`` on average.

    Every chunk begins with its buffer full. That is once per stream elsewhere; here the sum of the chunks would exceed the
    maximum. x264 never spends all of it; what it does is what counts here. Only noise, which cannot be compressed, gets
    about a tenth beyond the maximum.
    """
    start = _WITH_B_FRAMES if b_frames else _WITHOUT_B_FRAMES
    seconds = max(chunk.frame_count / chunk.rate, Fraction(1))
    return int(max_bps * seconds / (seconds + start.head_start_s))


def _rate_control(chunk: Chunk, rendition: Rendition, encoder: EncoderSettings) -> dict[str, object]:
    start = _WITH_B_FRAMES if encoder.b_frames else _WITHOUT_B_FRAMES
    peak_bps = vbv_bps(rendition.max_bps, chunk, b_frames=encoder.b_frames)
    # x264 derives the first picture's QP from the CRF, and zones do not reach it: a lower CRF, which a zone takes back for
    # all others. A CRF below 1 would mean lossless.
    finer_qp = min(start.finer_qp, Fraction(max(encoder.crf - 1, 0)))
    # x264's quantizer doubles with 6 QP, and a zone divides it by "b".
    fewer_bits = 2 ** float(-(finer_qp + start.coarser_qp) / 6)
    number = encoder.number(rendition)
    zones = f"0,{_MAX_GOP - 1},b={fewer_bits:.4f}/0,{_UNSETTLED},b={_UNSETTLED_BITS * fewer_bits:.4f}"
    return {
        # 8x8dct: part of what makes it the High profile, which the fastest preset leaves out. chromaloc: the usual place
        # of colour samples, whatever the source's was; x264 would write that into what the init segment is made of.
        "x264-params": f"8x8dct=1:chromaloc=0:vbv-init=1:{f'sps-id={number}:' if number else ''}zones={zones}",
        "crf": f"{float(encoder.crf - finer_qp):g}",
        "maxrate": peak_bps,
        # Never more than a second of the maximum.
        "bufsize": min(int(peak_bps * start.buffer_s), rendition.max_bps),
    }


def _one_of(places: Sequence[int]) -> str:
    """Expression of FFmpeg that is true at each of ``places``; it does not read sums of more than a hundred terms."""
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
        # IDR pictures where segments begin and nowhere else; no picture refers across one.
        "force_key_frames": f"expr:{_one_of(edges)}",
        "forced-idr": 1,
        # Never reached. A constant, because x264 derives parts of the init segment from it.
        "g": _MAX_GOP,
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
