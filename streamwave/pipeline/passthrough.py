"""Whether the source's own pictures are the top rendition, not encoded again: for a session, and for each of its chunks.

A session decides by its first chunk, and for all of its machines (``encoding``). A later chunk that does not fit is encoded,
under the same init segment, so that players notice nothing (docs/decisions/0008-passthrough.md).
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

#: Profiles that every player knows: Baseline (as far as it is part of Main), Main, High (ITU-T H.264, A.2).
_BASELINE, _MAIN, _HIGH = 66, 77, 100
_WITHIN_MAIN = 0x40  # constraint_set1_flag
#: level_idc that players may be expected to decode, whatever a source's size would need.
_USUAL_LEVEL = 51
#: Parameter sets of the encoder have a number that the source has not given away; x264 counts up to this.
_HIGHEST_ID = 31
#: A later chunk may exceed the rendition's maximum by a tenth, as encoded ones of noise do.
_GRACE = Fraction(11, 10)


def plan(chunk: Chunk, rendition: Rendition, segment_ms: int, transcoder: Transcoder) -> Passthrough:
    """How ``rendition``, the largest, is made of the source's own pictures in the session that begins with ``chunk``.

    Raises:
        UnfitError: it cannot be; the message says why.
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
        raise UnfitError("its parameter sets have all numbers")
    try:
        init = replace(transcoder, encoder=encoder.numbered(rendition, number)).init_segment(chunk, rendition)
    except (StreamWaveError, OSError) as error:
        raise UnfitError(f"FFmpeg does not make an init segment for it ({error})") from None
    joined = found.configuration.joined(configuration(init))
    return Passthrough(rendition=rendition.name, encoder_id=number, init=with_configuration(init, joined))


def reorder_pictures(b_frames: bool) -> int:
    """By how many pictures at most one may be shown earlier than its turn in decoding; ``package`` stores times for that."""
    return 2 if b_frames else 0


def as_is(chunk: Chunk, passthrough: Passthrough, max_bps: int, segment_ms: int, b_frames: bool) -> Chunk:
    """``chunk`` with segments that begin at the source's keyframes, if its own pictures can be shown; else as it is."""
    try:
        found = read_pictures(chunk)
        if not found.configuration.parameter_sets <= configuration(passthrough.init).parameter_sets:
            raise UnfitError("its parameters have changed")
        segments = own_segments(chunk, found.pictures, _target(chunk, segment_ms), reorder_pictures(b_frames))
        _check_bits(chunk, found, max_bps * _GRACE)
    except UnfitError as error:
        log.info("chunk %d is encoded in %s: %s", chunk.number, passthrough.rendition, error)
        return chunk
    return chunk.model_copy(update={"segments": segments, "as_is": True})


def _target(chunk: Chunk, segment_ms: int) -> Fraction:
    return chunk.rate * segment_ms / 1000


def _check_shown_as_is(video: VideoInfo | None, rendition: Rendition) -> None:
    if video is None or video.codec != "h264":
        raise UnfitError("the source is not H.264")
    if (video.width, video.height) != (rendition.width, rendition.height):
        raise UnfitError(
            f"its {video.width}x{video.height} pixels are not the {rendition.width}x{rendition.height} of the top rung"
        )
    if video.rotation or video.mirrored:
        raise UnfitError("it is to be turned")
    if video.sample_aspect != 1:
        raise UnfitError("its pixels are not square")
    if video.interlaced:
        raise UnfitError("it is interlaced")
    if video.pixel_format != "yuv420p" or video.colour.full_range:
        raise UnfitError("it is not of 8 bits in 4:2:0 and the limited range")
    if is_wide(video):
        raise UnfitError("its colours go beyond those of BT.709")


def _check_players_know(found: AvcConfiguration, chunk: Chunk, rendition: Rendition) -> None:
    encoders = h264_level(rendition.width, rendition.height, chunk.rate, rendition.max_bps)
    highest = max(_USUAL_LEVEL, int(Fraction(encoders) * 10))
    for numbers in ([read_sps(nal).id for nal in found.sps], [pps_id(nal) for nal in found.pps]):
        if len(set(numbers)) != len(numbers):
            raise UnfitError("two of its parameter sets have the same number")
    for nal in found.sps:
        sps = read_sps(nal)
        if sps.profile not in (_BASELINE, _MAIN, _HIGH) or (
            sps.profile == _BASELINE and not sps.constraints & _WITHIN_MAIN
        ):
            raise UnfitError(f"not every player knows its profile ({sps.profile})")
        if sps.level > highest:
            raise UnfitError(f"its level ({sps.level // 10}.{sps.level % 10}) asks too much of players")
        if not sps.frames_only:
            raise UnfitError("it may be interlaced")
        if not sps.square_pixels or not sps.plain_colour:
            raise UnfitError("its pixels are not square, or not of 8 bits in 4:2:0")
        if (sps.width_px, sps.height_px) != (rendition.width, rendition.height):
            raise UnfitError("its parameter sets have other sizes than its pictures")


def _check_bits(chunk: Chunk, found: SourcePictures, max_bps: Fraction) -> None:
    bps = found.size_bytes * 8 * chunk.rate / chunk.frame_count
    if bps > max_bps:
        raise UnfitError(f"its {int(bps) // 1000} kbit/s are more than the {int(max_bps) // 1000} of the top rung")
