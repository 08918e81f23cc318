"""What a source may cost (docs/decisions/0021-limits-on-sources.md): limits of processes, and of what a source holds."""

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
#: Open files of a process that handles media; FFmpeg needs one for each output, the segmenter some for each session.
OPEN_FILES = 1024

#: What libavutil, libx264 and the C library say when they get no more memory.
_NO_MEMORY = re.compile(r"cannot allocate memory|malloc of size|out of memory|std::bad_alloc", re.IGNORECASE)
#: What libavcodec and libdav1d say of a picture that is larger than -max_pixels.
_TOO_LARGE = re.compile(r"exceeds specified max pixel count|exceeds (size )?limit", re.IGNORECASE)


@dataclass(frozen=True)
class SourceLimits:
    """Limits of one source: the area of a picture in pixels, tracks of all kinds, and memory of the process that opens it.

    ``stalled_cpu_s``: CPU time that may pass there before anything more of the source comes out. 0: no matter how much.
    ``ffmpeg_path``: the program that receives what PyAV has no protocol for; None: see ``locate``.
    """

    max_pixels: int = 8192 * 4320
    max_tracks: int = 256
    memory_mb: int = 1536
    stalled_cpu_s: int = 0
    ffmpeg_path: str | None = None

    def process(self, cpu_s: int = 0) -> ProcessLimits:
        """Limits of a process that opens the source; ``cpu_s`` 0: as much CPU time as it lasts."""
        return ProcessLimits(memory_bytes=self.memory_mb * _MB, cpu_s=cpu_s)


#: Those of the settings where nothing is set.
USUAL = SourceLimits()


@dataclass(frozen=True)
class ProcessLimits:
    """Limits of one process; 0 is none. It never gets a core dump."""

    memory_bytes: int = 0
    cpu_s: int = 0
    file_bytes: int = 0
    open_files: int = OPEN_FILES

    def apply(self, pid: int) -> None:
        """Limit the process ``pid``, which has just been started.

        RLIMIT_DATA and not RLIMIT_AS: address space that is only reserved (an arena of the C library for each thread,
        mapped libraries) costs nothing, and there is much of it.
        """
        wanted = {
            resource.RLIMIT_DATA: (self.memory_bytes, self.memory_bytes),
            resource.RLIMIT_CPU: (self.cpu_s, self.cpu_s + 5 if self.cpu_s else 0),  # SIGXCPU, then SIGKILL
            resource.RLIMIT_FSIZE: (self.file_bytes, self.file_bytes),
            resource.RLIMIT_NOFILE: (self.open_files, self.open_files),
        }
        with suppress(ProcessLookupError):  # it has ended already
            resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
            for kind, (soft, hard) in wanted.items():
                if soft:
                    _, most = resource.prlimit(pid, kind)
                    within = most if most != resource.RLIM_INFINITY else hard
                    resource.prlimit(pid, kind, (min(soft, within), min(hard, within)))


class CpuLease:
    """Lets this process live for ``seconds`` of CPU time from each ``renew`` on: what hangs in a loop is killed (SIGXCPU)."""

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds
        self._due = 0.0

    def renew(self) -> None:
        """There is progress. Called for each packet, so that it has to cost next to nothing."""
        if self._seconds and time.monotonic() >= self._due:
            self._due = time.monotonic() + 1
            _, hard = resource.getrlimit(resource.RLIMIT_CPU)
            until = int(time.process_time()) + 1 + self._seconds
            resource.setrlimit(
                resource.RLIMIT_CPU, (until if hard == resource.RLIM_INFINITY else min(until, hard), hard)
            )


@dataclass(frozen=True)
class ChunkLimits:
    """How the limits of an FFmpeg process that works on one chunk are found. ``cpu_factor``: times the usual CPU time."""

    max_pixels: int = SourceLimits.max_pixels
    memory_mb: int = 8192
    cpu_factor: int = 20

    def process(
        self, chunk: Chunk, video: VideoInfo | None, renditions: Sequence[Rendition], preset: str
    ) -> ProcessLimits:
        """The limits for ``chunk``, of pictures like ``video``, decoded and made into ``renditions``."""
        seconds = chunk.frame_count / chunk.rate
        return ProcessLimits(
            memory_bytes=self.memory_mb * _MB,
            cpu_s=BASE_CPU_S + int(self.cpu_factor * usual_cpu_s(chunk, video, renditions, preset)),
            # Its files, of which noise makes a little more than their maximum, and what it has to say.
            file_bytes=64 * _MB + int(4 * sum(r.max_bps for r in renditions) * (seconds + 1) / 8),
        )


#: CPU time that any FFmpeg may take, whatever it does: to start, and to find out what the file is.
BASE_CPU_S = 30
#: CPU time for one pixel, decoded or encoded, in seconds: 39 s for 30 s of 1080p30 in the usual ladder, measured with
#: superfast. Other presets are in proportion, roughly.
_PIXEL_S = Fraction(8, 10**9)
_PRESETS = {
    "ultrafast": 1, "superfast": 1, "veryfast": 2, "faster": 3, "fast": 4, "medium": 5, "slow": 9, "slower": 17,
    "veryslow": 33, "placebo": 80,
}  # fmt: skip


def usual_cpu_s(chunk: Chunk, video: VideoInfo | None, renditions: Sequence[Rendition], preset: str) -> Fraction:
    """CPU time that a chunk of H.264 usually takes, in seconds."""
    decoded = max(chunk.frame_count, chunk.pictures) * (video.width * video.height if video is not None else 0)
    encoded = chunk.frame_count * sum(r.width * r.height for r in renditions)
    return _PIXEL_S * (decoded + encoded * _PRESETS.get(preset, 1))


def exceeded(limits: ProcessLimits, returncode: int | None, said: str) -> str | None:
    """Which limit an FFmpeg process failed by, as the end of a sentence that begins with FFmpeg; None if by none."""
    if returncode == -signal.SIGXCPU:
        return f"took more than {limits.cpu_s} s of CPU time, which is what STREAMWAVE_CHUNK_CPU_FACTOR allows for such a chunk"
    if returncode == -signal.SIGXFSZ:
        return f"wrote more than {limits.file_bytes // _MB} MB, far more than its renditions may have"
    if _TOO_LARGE.search(said):
        return "met pictures that are larger than STREAMWAVE_MAX_PIXELS allows"
    if limits.memory_bytes and _NO_MEMORY.search(said):
        return f"needs more memory than STREAMWAVE_FFMPEG_MEMORY_MB allows ({limits.memory_bytes // _MB} MB)"
    return None
