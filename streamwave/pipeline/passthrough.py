"""Passthrough: decides whether the source's video becomes the top rendition without re-encoding.

The decision is made from the first chunk of a session, and stored for all runs (``spool.encoding``). A later chunk that does
not qualify is encoded under the same init segment, so players notice nothing (docs/decisions/0008-passthrough.md).
"""

from __future__ import annotations

import logging
from dataclasses import replace
from fractions import Fraction

from streamwave.errors import StreamWaveError, UnfitError
from streamwave.ffmpeg.level import h264_level
from streamwave.ffmpeg.picture import is_wide
from streamwave.ffmpeg.source_pictures import SourcePictures, own_segments, read_pictures
from streamwave.ffmpeg.transcode import Transcoder
from streamwave.model import Chunk, Passthrough, Rendition, VideoInfo
from streamwave.mp4.avcc import AvcConfiguration, configuration, with_configuration
from streamwave.mp4.sps import pps_id, read_sps

log = logging.getLogger("streamwave.passthrough")

#: Profiles that every player supports: Baseline (as far as it is a subset of Main), Main, High (ITU-T H.264, A.2).
_BASELINE, _MAIN, _HIGH = 66, 77, 100
_WITHIN_MAIN = 0x40  # constraint_set1_flag
#: level_idc that every player is expected to decode.
_USUAL_LEVEL = 51
#: The encoder's parameter sets need an ID that the source does not use; this is the highest that x264 accepts.
_HIGHEST_ID = 31
#: A later chunk may exceed the rendition's maximum by a tenth, as encoded chunks of noise do.
_GRACE = Fraction(11, 10)


def plan(chunk: Chunk, rendition: Rendition, segment_ms: int, transcoder: Transcoder) -> Passthrough:
    """Plan passthrough for ``rendition``, the largest, in the session that begins with ``chunk``.

    Raises:
        UnfitError: the source does not qualify; the message says why.
    """
    encoder = transcoder.encoder
    _check_shown_as_is(encoder.video, rendition)
    found = read_pictures(chunk)
    _check_players_know(found.configuration, chunk, rendition)
    own_segments(chunk, found.pictures, _target(chunk, segment_ms), reorder_pictures(encoder.b_frames))
    _check_bits(chunk, found, Fraction(rendition.max_bps))
    taken = {read_sps(one).id for one in found.configuration.sps} | {pps_id(one) for one in found.configuration.pps}
    number = next((n for n in range(1, _HIGHEST_ID + 1) if n not in taken), None)
    if number is None:
        raise UnfitError("its parameter sets use every ID")
    try:
        init = replace(transcoder, encoder=encoder.numbered(rendition, number)).init_segment(chunk, rendition)
    except (StreamWaveError, OSError) as error:
        raise UnfitError(f"FFmpeg cannot make an init segment for it ({error})") from None
    joined = found.configuration.joined(configuration(init))
    return Passthrough(rendition=rendition.name, encoder_id=number, init=with_configuration(init, joined))


def reorder_pictures(b_frames: bool) -> int:
    """Maximum number of frames by which presentation order may differ from decoding order (``package`` allows for it)."""
    return 2 if b_frames else 0


def as_is(chunk: Chunk, passthrough: Passthrough, max_bps: int, segment_ms: int, b_frames: bool) -> Chunk:
    """``chunk`` with segments that begin at the source's keyframes if it can be passed through; else ``chunk`` unchanged."""
    try:
        found = read_pictures(chunk)
        if not found.configuration.parameter_sets <= configuration(passthrough.init).parameter_sets:
            raise UnfitError("its parameters have changed")
        segments = own_segments(chunk, found.pictures, _target(chunk, segment_ms), reorder_pictures(b_frames))
        _check_bits(chunk, found, max_bps * _GRACE)
    except UnfitError as error:
        log.info("chunk %d is encoded in %s instead of passed through: %s", chunk.number, passthrough.rendition, error)
        return chunk
    return chunk.model_copy(update={"segments": segments, "as_is": True})


def _target(chunk: Chunk, segment_ms: int) -> Fraction:
    return chunk.rate * segment_ms / 1000


def _check_shown_as_is(video: VideoInfo | None, rendition: Rendition) -> None:
    if video is None or video.codec != "h264":
        raise UnfitError("the source is not H.264")
    if (video.width, video.height) != (rendition.width, rendition.height):
        raise UnfitError(
            f"its frame size is {video.width}x{video.height}, but the top rung is {rendition.width}x{rendition.height}"
        )
    if video.rotation or video.mirrored:
        raise UnfitError("it has to be rotated or mirrored")
    if video.sample_aspect != 1:
        raise UnfitError("its pixels are not square")
    if video.interlaced:
        raise UnfitError("it is interlaced")
    if video.pixel_format != "yuv420p" or video.colour.full_range:
        raise UnfitError("it is not 8-bit 4:2:0 in limited range")
    if is_wide(video):
        raise UnfitError("its colour gamut exceeds BT.709")


def _check_players_know(found: AvcConfiguration, chunk: Chunk, rendition: Rendition) -> None:
    encoders = h264_level(rendition.width, rendition.height, chunk.rate, rendition.max_bps)
    highest = max(_USUAL_LEVEL, int(Fraction(encoders) * 10))
    for numbers in ([read_sps(nal).id for nal in found.sps], [pps_id(nal) for nal in found.pps]):
        if len(set(numbers)) != len(numbers):
            raise UnfitError("two of its parameter sets have the same ID")
    for nal in found.sps:
        sps = read_sps(nal)
        if sps.profile not in (_BASELINE, _MAIN, _HIGH) or (
            sps.profile == _BASELINE and not sps.constraints & _WITHIN_MAIN
        ):
            raise UnfitError(f"not every player supports its profile ({sps.profile})")
        if sps.level > highest:
            raise UnfitError(f"its level ({sps.level // 10}.{sps.level % 10}) is too high for players")
        if not sps.frames_only:
            raise UnfitError("it may be interlaced")
        if not sps.square_pixels or not sps.plain_colour:
            raise UnfitError("its pixels are not square, or not 8-bit 4:2:0")
        if (sps.width_px, sps.height_px) != (rendition.width, rendition.height):
            raise UnfitError("the frame size in its parameter sets is wrong")


def _check_bits(chunk: Chunk, found: SourcePictures, max_bps: Fraction) -> None:
    bps = found.size_bytes * 8 * chunk.rate / chunk.frame_count
    if bps > max_bps:
        raise UnfitError(f"its {int(bps) // 1000} kbit/s exceed the {int(max_bps) // 1000} kbit/s of the top rung")
