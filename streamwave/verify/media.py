"""Whether one media segment is what the manifest says: its boxes, its times, and its pictures or samples when decoded."""

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
    """The samples (pictures, or AAC frames) of a segment that must fill ``[time, time + duration)`` ticks.

    Raises:
        MediaError: it cannot be read, lies elsewhere, has holes, does not begin with an IDR picture, or does not decode
            into as many pictures, or samples of sound, as there is room for.
    """
    _, fragments = split_file(init + data)
    found = [read_fragment(fragment, summary) for fragment in fragments]
    at = time
    for fragment in found:
        if fragment.time != at:
            raise MediaError(f"a fragment is at {fragment.time}, {at} was due")
        at += fragment.duration
    if at != time + duration:
        raise MediaError(f"it lasts {at - time} ticks, {duration} were due")
    count = sum(fragment.sample_count for fragment in found)
    step = track.frame_ticks
    if step:
        if count * step != duration:
            raise MediaError(f"it has {count} samples of {step} ticks, {duration} ticks were due")
        shown = sorted(moment for fragment in found for moment in fragment.presentation_times)
        if shown != list(range(time, time + duration, step)):
            raise MediaError("its samples are not shown one after the other")
    if track.kind == "video" and not starts_with_idr(fragments[0], summary):
        raise MediaError("it does not begin with an IDR picture")
    if decode:
        decoded, due = decoded_count(init + data, track.kind), count if track.kind == "video" else duration
        if decoded != due:
            what = "pictures" if track.kind == "video" else "samples of sound"
            raise MediaError(f"{decoded} {what} could be decoded, {due} were due")
    return count


def decoded_count(data: bytes, kind: str) -> int:
    """Pictures, or samples of sound, that FFmpeg decodes from init and media segment; damaged ones do not count.

    Raises:
        MediaError: FFmpeg gives up.
    """
    try:
        with av.open(BytesIO(data), "r", options=UNDECODED) as container:
            streams = container.streams.video if kind == "video" else container.streams.audio
            if not streams:
                raise MediaError(f"there is no {kind} in it")
            stream: Any = streams[0]
            # Not to patch up what is damaged, as players do.
            stream.codec_context.options = {"err_detect": "explode", "max_pixels": str(USUAL.max_pixels)}
            if kind == "video":
                return sum(1 for frame in container.decode(stream) if not frame.is_corrupt)
            return sum(frame.samples for frame in container.decode(stream))
    except av.FFmpegError as error:
        raise MediaError(f"it does not decode ({error.strerror})") from None
