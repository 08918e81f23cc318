"""One chunk on disk: the source's own video packets in Matroska, which keeps milliseconds exactly, and AAC in ADTS."""

from __future__ import annotations

import errno
import os
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av import Packet

from streamwave.mp4.adts import adts_frame
from streamwave.spool.journal import chunk_name
from streamwave.spool.sound import CHANNELS, SAMPLE_RATE

MILLISECOND = Fraction(1, 1000)
#: A chunk's decoding times are made up: they begin this long before its first picture.
DECODED_BEFORE_MS = 3_600_000
#: Errors of the disk, not of the packet.
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EROFS})


def _sync(path: Path) -> int:
    """Make the file's content durable; its size in bytes."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
        return os.fstat(handle).st_size
    finally:
        os.close(handle)


class VideoChunk:
    """A chunk that is being received: video packets go to its file as they come."""

    def __init__(self, folder: Path, number: int, template: Any, start_ms: int, extradata: bytes | None = None) -> None:
        self.number = number
        self.start_ms = start_ms
        self.path = folder / chunk_name(number, "mkv")
        self.starts_ms: list[int] = []
        self.end_ms = start_ms
        self.refused = 0
        self.last_arrival_unix_ms = 0
        # Shifting negative decoding times would shift the presentation times too, and those are the exact ones.
        self._out = av.open(str(self.path), "w", format="matroska", options={"avoid_negative_ts": "disabled"})
        # The decoder's parameters: not for every codec there is an encoder whose ones could be taken.
        self._stream = self._out.add_stream_from_template(template, opaque=True)
        if extradata is not None:
            self._stream.codec_context.extradata = extradata
        self._next_dts = start_ms - DECODED_BEFORE_MS

    def write(self, packet: Packet[Any], pts_ms: int, duration_ms: int, *, counted: bool = True) -> None:
        """Add one packet, with times in milliseconds since the session's origin.

        One that is not ``counted`` is not a picture of this chunk, but is needed to decode one that is.
        """
        packet.stream = self._stream
        packet.time_base = MILLISECOND
        packet.pts, packet.duration = pts_ms, duration_ms
        # Matroska stores no decoding times. The muxer only wants them to grow and to be before the presentation times,
        # which not every source keeps to, and which rounding to milliseconds can break.
        packet.dts = min(self._next_dts, pts_ms)
        self._next_dts += 1
        try:
            self._out.mux_one(packet)
        except av.error.FFmpegError as error:
            if isinstance(error, OSError) and error.errno in _DISK:
                raise
            self.refused += 1
            return
        if not counted:
            return
        self.last_arrival_unix_ms = time.time_ns() // 1_000_000
        self.starts_ms.append(pts_ms)
        self.end_ms = max(self.end_ms, pts_ms + max(duration_ms, 1))

    def close(self) -> int:
        """Finish the file and make it durable; its size in bytes."""
        self._out.close()
        return _sync(self.path)

    def move_to(self, other: VideoChunk, shift_ms: int) -> None:
        """Finish this file and put its packets, ``shift_ms`` earlier, into ``other``; then this one goes."""
        self._out.close()
        with av.open(str(self.path)) as container:
            for packet in container.demux(video=0):
                if packet.size and packet.pts is not None:
                    other.write(packet, packet.pts - shift_ms, packet.duration or 0)
        other.last_arrival_unix_ms = self.last_arrival_unix_ms
        self.path.unlink(missing_ok=True)

    def abandon(self) -> None:
        """Drop the file."""
        try:
            self._out.close()
        finally:
            self.path.unlink(missing_ok=True)


def write_audio(folder: Path, number: int, frames: list[bytes]) -> tuple[str, int]:
    """Store a chunk's AAC frames durably; file name and size in bytes."""
    path = folder / chunk_name(number, "aac")
    path.write_bytes(b"".join(adts_frame(frame, SAMPLE_RATE, CHANNELS) for frame in frames))
    return path.name, _sync(path)
