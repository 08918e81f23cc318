"""One chunk on disk: the source's video packets in a container that keeps milliseconds exactly, and AAC in ADTS.

The container is Matroska; NUT for codecs that have no codec ID of their own in Matroska (it refuses some, and keeps only the
decoding times of others); and QuickTime for codecs that NUT does not know either.
"""

from __future__ import annotations

import errno
import os
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av import Packet
from av.codec.codec import Properties

from streamwave.errors import SourceError
from streamwave.ffmpeg.chunks import open_chunk
from streamwave.model import CONTAINERS
from streamwave.mp4.adts import adts_frame
from streamwave.receive.samples import CHANNELS, SAMPLE_RATE
from streamwave.spool.journal import chunk_name

#: Codecs that have a codec ID of their own in Matroska (https://www.matroska.org/technical/codec_specs.html).
_MATROSKA = frozenset(
    {
        "av1", "dirac", "ffv1", "h264", "hevc", "mjpeg", "mpeg1video", "mpeg2video", "mpeg4", "msmpeg4v3", "prores",
        "rv30", "rv40", "theora", "vp8", "vp9", "vvc",
    }
)  # fmt: skip
#: Uncompressed pictures that QuickTime keeps as they are.
_RAW = frozenset(
    {"abgr", "argb", "bgr24", "bgra", "rgb24", "rgb48be", "rgb565le", "rgba", "uyvy422", "yuyv422"}
)  # fmt: skip
#: Uncompressed pixel formats that NUT keeps, with the codec tag that states the layout (https://www.ffmpeg.org/~michael/nut4cc.txt).
_LAID_OUT = {
    "gray": "Y800", "nv12": "NV12", "nv21": "NV21", "yuv411p": "Y41B", "yuv420p": "I420", "yuv422p": "Y42B", "yuv444p": "444P",
    "yuv420p10le": "Y3\x0b\x0a", "yuv422p10le": "Y3\x0a\x0a", "yuv444p10le": "Y3\x00\x0a",
}  # fmt: skip
#: Codecs whose pixel layout is stated by the source's codec tag.
_MARKED = frozenset({"speedhq", "utvideo"})
MILLISECOND = Fraction(1, 1000)
#: A chunk's decoding times are invented: they begin this long before its first picture.
DECODED_BEFORE_MS = 3_600_000
#: Each packet adds this much to a chunk's size, so that the number of empty packets is bounded too.
PACKET_BYTES = 1000
#: Errors of the disk; all others are the packet's fault.
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EROFS})


def _sync(path: Path) -> int:
    """Sync a file to disk; its size in bytes."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
        return os.fstat(handle).st_size
    finally:
        os.close(handle)


class VideoChunk:
    """A chunk that is being received: its video packets are written to its file as they come.

    ``key_ms`` is the presentation time of the keyframe from which it is decoded. That is its first picture, at ``start_ms``,
    unless the file has a lead: pictures that are only needed for decoding. If ``key_ms`` is before the origin, and so negative,
    all times in the file are later by ``later_ms``, because files cannot hold negative times.
    """

    def __init__(
        self,
        folder: Path,
        number: int,
        template: Any,
        key_ms: int,
        extradata: bytes | None = None,
        *,
        start_ms: int | None = None,
    ) -> None:
        self.number = number
        self.key_ms, self.later_ms = key_ms, max(-key_ms, 0)
        self.start_ms = start_ms = max(key_ms, 0) if start_ms is None else start_ms
        self.starts_ms: list[int] = []
        self.newest_ms: int | None = None
        self.end_ms = start_ms
        self.size_bytes = 0  # approximately
        self.hidden_ms = key_ms  # the latest picture of the lead
        self.refused = 0
        self.lead = 0  # pictures of the lead
        self.last_arrival_unix_ms = 0
        self.path, self._out, self._stream = _created(folder, number, template)
        if extradata is not None:
            self._stream.codec_context.extradata = extradata
        properties = template.codec_context.codec.properties
        self._in_order = self.path.suffix != ".mkv" and not properties & Properties.REORDER.value
        # The other containers keep decoding times, which may not be negative.
        self._next_dts = start_ms - (DECODED_BEFORE_MS if self.path.suffix == ".mkv" else 0)

    @property
    def hides_more(self) -> bool:
        """Whether its file goes on with hidden pictures after the last one that is shown."""
        return self.hidden_ms > max(self.starts_ms)

    def write(self, packet: Packet[Any], pts_ms: int, duration_ms: int, *, counted: bool = True) -> None:
        """Add one packet, with times in milliseconds since the session's origin.

        A packet that is not ``counted`` belongs to the lead: it is needed to decode pictures of this chunk.
        """
        packet.stream = self._stream
        packet.time_base = MILLISECOND
        packet.pts, packet.duration = pts_ms + self.later_ms, duration_ms
        # Matroska stores no decoding times. The muxer only requires that they increase and are not after the presentation
        # times. Not every source complies, and rounding to milliseconds can break the order. QuickTime derives the durations
        # of pictures from decoding times, and the last picture of a chunk has to last until it is shown.
        packet.dts = packet.pts if self._in_order and packet.pts > self._next_dts else min(self._next_dts, packet.pts)
        self._next_dts = max(self._next_dts, packet.dts) + 1
        self.size_bytes += packet.size + PACKET_BYTES
        try:
            self._out.mux_one(packet)
        except av.error.FFmpegError as error:
            if isinstance(error, OSError) and error.errno in _DISK:
                raise
            self.refused += 1
            return
        if not counted:
            self.lead += 1
            self.hidden_ms = max(self.hidden_ms, pts_ms)
            return
        self.last_arrival_unix_ms = time.time_ns() // 1_000_000
        self.starts_ms.append(pts_ms)
        self.newest_ms = pts_ms if self.newest_ms is None else max(self.newest_ms, pts_ms)
        self.end_ms = max(self.end_ms, pts_ms + max(duration_ms, 1))

    def close(self) -> int:
        """Finish the file and make it durable; its size in bytes."""
        self._out.close()
        return _sync(self.path)

    def lead_from(self, before: VideoChunk, path: Path | None = None) -> None:
        """Copy the finished file of ``before`` into this one, as the lead up to ``start_ms``.

        ``path`` is another name of that file, if the consumer may have removed it.
        """
        self.key_ms = before.key_ms
        if self.path.suffix != ".mkv":
            self._next_dts = self.key_ms
        with open_chunk(path or before.path, before.path.suffix[1:]) as container:
            for packet in container.demux(video=0):
                if packet.size and packet.pts is not None:
                    at_ms = round(packet.pts * packet.time_base * 1000)
                    length_ms = round((packet.duration or 0) * packet.time_base * 1000)
                    self.write(packet, at_ms, length_ms, counted=at_ms >= self.start_ms)
        self.last_arrival_unix_ms = before.last_arrival_unix_ms

    def put_off(self, number: int, start_ms: int) -> None:
        """Become chunk ``number``, and begin at ``start_ms``. The chunk must not have any picture but its lead."""
        path = self.path.with_name(chunk_name(number, self.path.suffix[1:]))
        self.path = self.path.replace(path)
        self.number, self.start_ms, self.end_ms = number, start_ms, start_ms

    def move_to(self, other: VideoChunk, shift_ms: int) -> None:
        """Write the packets of this chunk, ``shift_ms`` earlier, to ``other``, and remove its file."""
        self._out.close()
        with open_chunk(self.path) as container:
            for packet in container.demux(video=0):
                if packet.size and packet.pts is not None:
                    other.write(packet, packet.pts - shift_ms, packet.duration or 0)
        other.last_arrival_unix_ms = self.last_arrival_unix_ms
        self.path.unlink(missing_ok=True)

    def abandon(self) -> None:
        """Remove the file."""
        try:
            self._out.close()
        finally:
            self.path.unlink(missing_ok=True)


def _keeps(suffix: str, codec: str, pixel_format: str | None) -> bool:
    """Whether a container returns a codec's packets as they were written, if it accepts the codec."""
    if codec == "rawvideo":
        return pixel_format in {"mov": _RAW, "nut": _LAID_OUT}.get(suffix, ())
    return suffix != "mkv" or codec in _MATROSKA


def _created(folder: Path, number: int, template: Any) -> tuple[Path, Any, Any]:
    """A new file for the packets of ``template``, in a container that keeps them: path, container, track.

    Raises:
        SourceError: no container keeps them.
    """
    codec = template.codec_context.codec.canonical_name
    for suffix, name in CONTAINERS.items():
        if not _keeps(suffix, codec, template.codec_context.pix_fmt):
            continue
        path = folder / chunk_name(number, suffix)
        # Shifting negative decoding times would shift the presentation times too, which are exact.
        options = {"avoid_negative_ts": "disabled", **({"video_track_timescale": "1000"} if suffix == "mov" else {})}
        out = av.open(str(path), "w", format=name, options=options)
        try:
            # The decoder's parameters are copied, because not every codec has an encoder.
            stream: Any = out.add_stream_from_template(template, opaque=True)
        except ValueError:  # the container does not know the codec
            out.close()
            path.unlink(missing_ok=True)
        else:
            if suffix == "nut" and (codec == "rawvideo" or codec in _MARKED):
                stream.codec_tag = (
                    _LAID_OUT[template.codec_context.pix_fmt] if codec == "rawvideo" else template.codec_tag
                )
            stream.time_base = MILLISECOND  # NUT chooses a finer time base, which has to be a multiple of this one
            return path, out, stream
    what = f"{codec} ({template.codec_context.pix_fmt})" if codec == "rawvideo" else codec
    raise SourceError(f"video in {what} cannot be cut into chunks; convert the source to H.264")


def write_audio(folder: Path, number: int, frames: list[bytes]) -> tuple[str, int]:
    """Store a chunk's AAC frames durably; file name and size in bytes."""
    path = folder / chunk_name(number, "aac")
    path.write_bytes(b"".join(adts_frame(frame, SAMPLE_RATE, CHANNELS) for frame in frames))
    return path.name, _sync(path)
