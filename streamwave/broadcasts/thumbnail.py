"""Makes a broadcast's thumbnail from its published segments."""

from __future__ import annotations

from base64 import b64decode, b64encode
from fractions import Fraction
from io import BytesIO
from typing import Any

import av
from av import CodecContext

from streamwave.ffmpeg.chunks import UNDECODED
from streamwave.ffmpeg.limits import USUAL
from streamwave.ffmpeg.probing import ask, serve
from streamwave.layout import init_name, segment_name
from streamwave.manifest.timeline import Timeline
from streamwave.storage.store import Store


def first_picture(store: Store, timeline: Timeline) -> bytes | None:
    """The first frame of the smallest video rendition as JPEG; None if there is no video yet.

    Raises:
        SourceError: the frame cannot be decoded.
    """
    if not timeline.periods:
        return None
    period = timeline.periods[0]
    video = [track for track in period.tracks.values() if track.rendition.kind == "video" and track.segments]
    if not video:
        return None
    track = min(video, key=lambda track: track.rendition.height)
    name = track.rendition.name
    init = store.get(init_name(period.name, name))
    media = store.get(segment_name(period.name, name, track.segments[0].time))
    if init is None or media is None:
        return None
    # Renditions may contain the publisher's own bitstream (passthrough), which must not be decoded in this process.
    request = {"url": f"{store.url}/{name}", "data": b64encode(init + media).decode("ascii")}
    return b64decode(ask("streamwave.broadcasts.thumbnail", request, USUAL))


def _jpeg(data: bytes) -> bytes:
    with av.open(BytesIO(data), "r", options=UNDECODED) as container:
        picture: Any = next(container.decode(video=0))
    encoder: Any = CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = picture.width, picture.height, "yuvj420p"
    encoder.time_base = Fraction(1)
    picture = picture.reformat(format="yuvj420p")
    picture.pts = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(picture), *encoder.encode(None)])


if __name__ == "__main__":
    serve(lambda request, _: b64encode(_jpeg(b64decode(request["data"]))).decode("ascii"))
