"""Checks on a source before any of it is decoded. Each refusal is one sentence for the user."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

from av.container import InputContainer

from streamwave.errors import SourceError
from streamwave.ffmpeg.formats import is_list
from streamwave.ffmpeg.limits import SourceLimits
from streamwave.ffmpeg.localfile import LocalFile
from streamwave.ffmpeg.mp4file import sample_counts
from streamwave.ffmpeg.remedies import how_to_fix
from streamwave.sources.address import shown

_HEAD_BYTES = 1024


#: Memory that libavformat uses per sample in the index of an MP4 file; measured.
_SAMPLE_BYTES = 36
#: Fewer samples than this are never refused.
_FEW = 1_000_000


def check_head(file: LocalFile, url: str, limits: SourceLimits) -> None:
    """Refuse a file that is empty, refers to other files, or claims an index of billions of samples; then rewind it."""
    if not file.size():
        raise SourceError(f"{shown(url)} is empty (0 bytes); check that it was written completely, or copy it again")
    if is_list(file.read(_HEAD_BYTES)):
        raise SourceError(
            f"{shown(url)} is a list of other files, which are not opened; name one media file, or the playlist's "
            "address at a web server"
        )
    counts = sample_counts(file)
    most = max((count for count, _ in counts), default=0)
    if most > max(file.size(), _FEW):  # every sample has at least one byte
        raise SourceError(
            f"{shown(url)} is damaged: its index lists {most} samples, more than a file of its size can hold; copy it again"
        )
    # libavformat does not report that it had no memory for an index, and continues without. Half is left for decoding.
    if sum(count for count, pcm in counts if not pcm) * _SAMPLE_BYTES > limits.memory_mb << 19:
        raise SourceError(too_much_memory(url, limits))
    file.seek(0)


def check_limits(container: InputContainer, url: str, limits: SourceLimits) -> None:
    """Raise SourceError if an open source has too many tracks or too large a frame size."""
    if len(container.streams) > limits.max_tracks:
        raise SourceError(
            f"{shown(url)} has more than the {limits.max_tracks} tracks that STREAMWAVE_MAX_TRACKS allows; "
            "remove those that are not needed"
        )
    for stream in container.streams.video:
        context = stream.codec_context
        if context is not None and not is_cover(stream):
            check_pixels(context.width, context.height, url, limits)


def check_pixels(width: int, height: int, url: str, limits: SourceLimits) -> None:
    """Raise SourceError if frames of ``width`` by ``height`` are larger than ``limits`` allow."""
    if width * height > limits.max_pixels:
        raise SourceError(
            f"{shown(url)}: frames of {width}x{height} are larger than STREAMWAVE_MAX_PIXELS allows "
            f"({limits.max_pixels} pixels); scale the source down, or raise that setting"
        )


def too_much_memory(url: str, limits: SourceLimits) -> str:
    """The message for a source that cannot be opened within ``limits``."""
    return (
        f"{shown(url)} needs more memory than STREAMWAVE_SOURCE_MEMORY_MB allows ({limits.memory_mb} MB); "
        f"it may be damaged: {how_to_fix(url)}"
    )


def lacked_memory(limits: SourceLimits) -> bool:
    """Whether this process, which runs within ``limits``, probably failed because it ran out of memory.

    libavformat does not always report it, but such a failure happens only near the limit. (The peak in getrusage is no use: it
    includes memory of the parent process.)
    """
    if resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY:
        return False  # no limit applies
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    most_kb = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0)
    return most_kb * 1024 > limits.memory_mb << 19


def is_cover(stream: Any) -> bool:
    """Whether a video track is an attached cover picture."""
    return bool(getattr(stream.disposition, "value", 0) & 0x400)  # AV_DISPOSITION_ATTACHED_PIC
