"""Checks one media segment against the manifest: boxes, timestamps, and the number of decoded frames or audio samples."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import av

from streamwave.errors import MediaError
from streamwave.ffmpeg.chunks import UNDECODED
from streamwave.ffmpeg.limits import USUAL
from streamwave.mp4.fragment import read_fragment
from streamwave.mp4.init import InitSummary
from streamwave.mp4.nal import starts_with_idr
from streamwave.mp4.split import split_file
from streamwave.verify.mpd import ListedTrack


def check_segment(
    track: ListedTrack, init: bytes, summary: InitSummary, data: bytes, time: int, duration: int, *, decode: bool
) -> int:
    """Check that a segment fills ``[time, time + duration)`` ticks, and return its number of video frames or AAC frames.

    Raises:
        MediaError: the segment cannot be parsed, has other timestamps or a gap, does not begin with an IDR picture, or does
            not decode to the number of video frames or audio samples that fill the interval.
    """
    _, fragments = split_file(init + data)
    found = [read_fragment(fragment, summary) for fragment in fragments]
    at = time
    for fragment in found:
        if fragment.time != at:
            raise MediaError(f"a fragment starts at {fragment.time} instead of {at}")
        at += fragment.duration
    if at != time + duration:
        raise MediaError(f"lasts {at - time} ticks instead of {duration}")
    count = sum(fragment.sample_count for fragment in found)
    step = track.frame_ticks
    if step:
        if count * step != duration:
            raise MediaError(f"has {count} samples of {step} ticks instead of {duration} ticks in all")
        shown = sorted(moment for fragment in found for moment in fragment.presentation_times)
        if shown != list(range(time, time + duration, step)):
            raise MediaError("presentation times are not contiguous")
    if track.kind == "video" and not starts_with_idr(fragments[0], summary):
        raise MediaError("does not begin with an IDR picture")
    if decode:
        decoded, due = decoded_count(init + data, track.kind), count if track.kind == "video" else duration
        if decoded != due:
            what = "frames" if track.kind == "video" else "audio samples"
            raise MediaError(f"{decoded} {what} could be decoded instead of {due}")
    return count


def decoded_count(data: bytes, kind: str) -> int:
    """Number of video frames or audio samples that FFmpeg decodes from init and media segment, without corrupt frames.

    Raises:
        MediaError: FFmpeg cannot decode the segment.
    """
    try:
        with av.open(BytesIO(data), "r", options=UNDECODED) as container:
            streams = container.streams.video if kind == "video" else container.streams.audio
            if not streams:
                raise MediaError(f"has no {kind}")
            stream: Any = streams[0]
            # Report damage instead of concealing it, as players do.
            stream.codec_context.options = {"err_detect": "explode", "max_pixels": str(USUAL.max_pixels)}
            if kind == "video":
                return sum(1 for frame in container.decode(stream) if not frame.is_corrupt)
            return sum(frame.samples for frame in container.decode(stream))
    except av.FFmpegError as error:
        raise MediaError(f"does not decode ({error.strerror})") from None
