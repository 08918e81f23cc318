"""Limits on what a source may cost (docs/decisions/0021-limits-on-sources.md): for processes, and for the source itself."""

from __future__ import annotations

import re
import resource
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction

from streamwave.model import Chunk, Rendition, VideoInfo

_MB = 1 << 20
#: Open files of a process that handles media: FFmpeg needs one per output, the segmenter several per session.
OPEN_FILES = 1024

#: Messages of libavutil, libx264 and the C library when they run out of memory.
_NO_MEMORY = re.compile(r"cannot allocate memory|malloc of size|out of memory|std::bad_alloc", re.IGNORECASE)
#: Messages of libavcodec and libdav1d about a frame that exceeds -max_pixels.
_TOO_LARGE = re.compile(r"exceeds specified max pixel count|exceeds (size )?limit", re.IGNORECASE)


@dataclass(frozen=True)
class SourceLimits:
    """Limits on one source: frame size in pixels, number of tracks of all kinds, and memory of the process that opens it.

    ``stalled_cpu_s``: CPU time in which the source must yield more data; 0 means no limit. ``ffmpeg_path``: the program that
    receives protocols that PyAV lacks; None: see ``locate``.
    """

    max_pixels: int = 8192 * 4320
    max_tracks: int = 256
    memory_mb: int = 1536
    stalled_cpu_s: int = 0
    ffmpeg_path: str | None = None

    def process(self, cpu_s: int = 0) -> ProcessLimits:
        """Limits on a process that opens the source; ``cpu_s`` 0 means unlimited CPU time."""
        return ProcessLimits(memory_bytes=self.memory_mb * _MB, cpu_s=cpu_s)


#: The defaults of the settings.
USUAL = SourceLimits()


@dataclass(frozen=True)
class ProcessLimits:
    """Limits on one process; 0 means no limit. Core dumps are always disabled."""

    memory_bytes: int = 0
    cpu_s: int = 0
    file_bytes: int = 0
    open_files: int = OPEN_FILES

    def apply(self, pid: int) -> None:
        """Limit the process ``pid``, which has just been started.

        RLIMIT_DATA rather than RLIMIT_AS, because reserved address space (an arena of the C library per thread, mapped
        libraries) is large and costs nothing.
        """
        wanted = {
            resource.RLIMIT_DATA: (self.memory_bytes, self.memory_bytes),
            resource.RLIMIT_CPU: (self.cpu_s, self.cpu_s + 5 if self.cpu_s else 0),  # SIGXCPU, then SIGKILL
            resource.RLIMIT_FSIZE: (self.file_bytes, self.file_bytes),
            resource.RLIMIT_NOFILE: (self.open_files, self.open_files),
        }
        with suppress(ProcessLookupError):  # the process has already ended
            resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
            for kind, (soft, hard) in wanted.items():
                if soft:
                    _, most = resource.prlimit(pid, kind)
                    within = most if most != resource.RLIM_INFINITY else hard
                    resource.prlimit(pid, kind, (min(soft, within), min(hard, within)))


class CpuLease:
    """Kills this process (SIGXCPU) if it uses ``seconds`` of CPU time without a call of ``renew``, as in an endless loop.

    ``end`` restores the limit that the process had before.
    """

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds
        self._due = 0.0
        self._before: int | None = None

    def renew(self) -> None:
        """Report progress. It is called for each packet, so it must cost next to nothing."""
        if self._seconds and time.monotonic() >= self._due:
            self._due = time.monotonic() + 1
            soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
            if self._before is None:
                self._before = soft
            until = int(time.process_time()) + 1 + self._seconds
            resource.setrlimit(
                resource.RLIMIT_CPU, (until if hard == resource.RLIM_INFINITY else min(until, hard), hard)
            )

    def end(self) -> None:
        """The process goes on with other work."""
        if self._before is not None:
            _, hard = resource.getrlimit(resource.RLIMIT_CPU)
            resource.setrlimit(resource.RLIMIT_CPU, (self._before, hard))
            self._before = None


@dataclass(frozen=True)
class ChunkLimits:
    """Limits on FFmpeg processes that work on a chunk. ``cpu_factor``: multiple of the usual CPU time."""

    max_pixels: int = SourceLimits.max_pixels
    memory_mb: int = 8192
    cpu_factor: int = 20

    def process(
        self, chunk: Chunk, video: VideoInfo | None, renditions: Sequence[Rendition], preset: str
    ) -> ProcessLimits:
        """The limits for decoding ``chunk`` of a source like ``video`` and encoding it into ``renditions``."""
        seconds = chunk.duration_s
        return ProcessLimits(
            memory_bytes=self.memory_mb * _MB,
            cpu_s=BASE_CPU_S + int(self.cpu_factor * usual_cpu_s(chunk, video, renditions, preset)),
            # Room for its outputs, which exceed their maximum slightly if the source is noise, and for its messages.
            file_bytes=64 * _MB + int(4 * sum(r.max_bps for r in renditions) * (seconds + 1) / 8),
        )


#: CPU time that any FFmpeg process may use to start and to probe the file, in seconds.
BASE_CPU_S = 30
#: CPU time in seconds per decoded or encoded pixel, measured with superfast: 39 s for 30 s of 1080p30 in the default ladder.
#: Other presets take roughly these multiples.
_PIXEL_S = Fraction(8, 10**9)
_PRESETS = {
    "ultrafast": 1, "superfast": 1, "veryfast": 2, "faster": 3, "fast": 4, "medium": 5, "slow": 9, "slower": 17,
    "veryslow": 33, "placebo": 80,
}  # fmt: skip


def usual_cpu_s(chunk: Chunk, video: VideoInfo | None, renditions: Sequence[Rendition], preset: str) -> Fraction:
    """CPU time in seconds that a chunk of H.264 usually takes."""
    decoded = max(chunk.frame_count, chunk.pictures) * (video.width * video.height if video is not None else 0)
    encoded = chunk.frame_count * sum(r.width * r.height for r in renditions)
    return _PIXEL_S * (decoded + encoded * _PRESETS.get(preset, 1))


def exceeded(limits: ProcessLimits, returncode: int | None, said: str) -> str | None:
    """The limit that made an FFmpeg process fail, as the predicate of a sentence about FFmpeg; None if there was none."""
    if returncode == -signal.SIGXCPU:
        return (
            f"used more than the {limits.cpu_s} s of CPU time that STREAMWAVE_CHUNK_CPU_FACTOR allows for such a chunk"
        )
    if returncode == -signal.SIGXFSZ:
        return f"wrote more than {limits.file_bytes // _MB} MB, far more than its renditions should need"
    if _TOO_LARGE.search(said):
        return "found frames that are larger than STREAMWAVE_MAX_PIXELS allows"
    if limits.memory_bytes and _NO_MEMORY.search(said):
        return f"needs more memory than STREAMWAVE_FFMPEG_MEMORY_MB allows ({limits.memory_bytes // _MB} MB)"
    return None
