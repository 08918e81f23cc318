"""The settings that bound what one publisher, one source or one stranger can make us use."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator
from pydantic_settings import NoDecode

from streamwave.ffmpeg.limits import ChunkLimits, SourceLimits
from streamwave.settings_fields import Folder, setting, to_folders
from streamwave.settings_output import OutputSettings

#: CPU time in which something must come out of a source; the slowest decoder takes a second for an 8K picture.
STALLED_CPU_S = 120


class LimitSettings(OutputSettings):
    """Part of ``Settings``."""

    spool_max_gb: int = setting(
        "Limits",
        "Bytes of chunks that may wait to be published, of all live streams of this machine. Beyond that a stream is "
        "not received any further; what was received is published.",
        20,
        unit="GB",
        ge=1,
        le=1_000_000,
    )
    allowed_file_roots: Annotated[tuple[Folder, ...], NoDecode, BeforeValidator(to_folders)] = setting(
        "Limits",
        "Folders from which the services accept files as sources, joined by `:`. Empty: from none. "
        "The command line reads every file that its user may read.",
        (),
        kind="folders joined by `:`",
    )
    max_streams: int = setting(
        "Limits", "Broadcasts that are published at once; further ones wait in the spool.", 16, ge=1, le=1000
    )
    max_pixels: int = setting(
        "Limits",
        "The largest pictures that a source may have, as width times height. A larger one is refused before anything is "
        "decoded. The default is 8192x4320.",
        SourceLimits.max_pixels,
        unit="pixels",
        ge=16_384,
        le=2**30,
    )
    max_tracks: int = setting(
        "Limits",
        "Tracks that a source may have, of all kinds together: also subtitles, attachments, and those of other programs.",
        SourceLimits.max_tracks,
        ge=2,
        le=10_000,
    )
    source_memory_mb: int = setting(
        "Limits",
        "Memory of each process that opens a source: of every segmenter, and of the probe. MP4 files whose index needs "
        "more than half of it, which are those of two days and more, are refused. Measured: 8K of 10 bits takes 960 MB.",
        SourceLimits.memory_mb,
        unit="MB",
        ge=256,
        le=1_000_000,
    )
    ffmpeg_memory_mb: int = setting(
        "Limits",
        "Memory of each FFmpeg process; a chunk that needs more becomes black pictures. Measured with superfast: 8K into the "
        "default ladder takes 1.6 GB, 8K into 8K, 4K and the default ladder 4.4 GB.",
        ChunkLimits.memory_mb,
        unit="MB",
        ge=256,
        le=1_000_000,
    )
    chunk_cpu_factor: int = setting(
        "Limits",
        "CPU time that FFmpeg may take for a chunk, in multiples of what a chunk with so many pixels takes on a usual core "
        "with H.264 and this preset, plus 30 s. A chunk that takes more becomes black pictures, without another try.",
        ChunkLimits.cpu_factor,
        ge=1,
        le=10_000,
    )

    @property
    def source_limits(self) -> SourceLimits:
        """Limits of one source."""
        return SourceLimits(self.max_pixels, self.max_tracks, self.source_memory_mb, STALLED_CPU_S)

    @property
    def chunk_limits(self) -> ChunkLimits:
        """Limits of what FFmpeg does with one chunk."""
        return ChunkLimits(self.max_pixels, self.ffmpeg_memory_mb, self.chunk_cpu_factor)
