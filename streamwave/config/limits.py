"""The settings that limit how much of this machine one publisher, one source or one stranger can use."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated

from pydantic import BeforeValidator
from pydantic_settings import NoDecode

from streamwave.config.fields import Folder, setting, to_folders, to_hosts, to_origins
from streamwave.config.output import OutputSettings
from streamwave.ffmpeg.limits import ChunkLimits, SourceLimits
from streamwave.model import StreamLimits
from streamwave.sources.hosts import to_hosts as to_source_hosts
from streamwave.untrusted import to_fraction

#: CPU time within which a source must yield data; the slowest decoder takes a second for an 8K frame.
STALLED_CPU_S = 120


class LimitSettings(OutputSettings):
    """Part of ``Settings``; what bounds sources, chunks and streams follows from it here and nowhere else."""

    # General, but what receives a source is part of ``source_limits``.
    ffmpeg_path: str | None = setting(
        "General",
        "The FFmpeg program to use. If not set: the system's, or else the one in the package imageio-ffmpeg.",
        name="FFMPEG_PATH",
        kind="the path of a program",
    )

    drain_timeout_s: int = setting(
        "Limits",
        "How long a worker that gets SIGTERM may still work on chunks that it has begun; then other workers get them.",
        60,
        unit="s",
        ge=1,
        le=86400,
    )
    spool_max_gb: Annotated[Fraction, BeforeValidator(to_fraction)] = setting(
        "Limits",
        "Maximum total size of the chunks of all live streams on this machine that wait to be published.",
        Fraction(20),
        unit="GB",
        ge=Fraction(1, 1000),
        le=1_000_000,
        kind="a number",
    )
    spool_share_percent: int = setting(
        "Limits",
        "Share that one stream may use of the space that other streams leave free: of `STREAMWAVE_SPOOL_MAX_GB`, or of "
        "the disk if that is less. With 50, one stream alone may use half, two streams a third each, and so on. A stream "
        "that has used up its share is disconnected; what was received of it is published.",
        50,
        unit="%",
        ge=1,
        le=90,
    )
    max_chunk_mb: int = setting(
        "Limits",
        "Maximum size of a chunk of a live source, including everything needed to decode it. A stream that exceeds it is "
        "disconnected: its bit rate times its keyframe interval is too high.",
        256,
        unit="MB",
        ge=1,
        le=100_000,
    )
    max_sessions_per_minute: int = setting(
        "Limits",
        "How many sessions a stream may begin in a minute, by connecting or by changing its frame size; thirty times as "
        "many in an hour. Each costs a process, and an interruption for viewers.",
        20,
        ge=1,
        le=10_000,
    )
    allowed_file_roots: Annotated[tuple[Folder, ...], NoDecode, BeforeValidator(to_folders)] = setting(
        "Limits",
        "Folders below which the services, and runs that are started through Prefect, accept files as sources, separated "
        "by `:`. Empty: no files. The command line can read every file that its user can read.",
        (),
        kind="folders joined by `:`",
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(to_hosts)] = setting(
        "Limits",
        "Additional host names for which the ingest service and the Prefect server that StreamWave starts accept "
        "requests, separated by commas: those of a proxy in front of them, or of a container. Requests for other names "
        "are refused, so that no web page can reach them by resolving its own name to this machine.",
        (),
        kind="host names without ports, joined by commas",
    )
    rtmp_waiting: int = setting(
        "Limits",
        "Maximum number of RTMP connections that have not started to publish. Each further connection ends the one that "
        "has made the least progress.",
        256,
        ge=1,
        le=2000,
    )
    rtmp_waiting_per_address: int = setting(
        "Limits", "How many of these may come from one address, or, for IPv6, from one /64 network.", 64, ge=1, le=2000
    )
    source_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(to_source_hosts)] = setting(
        "Limits",
        "Hosts outside the public internet from which the services may fetch sources that callers name: names, addresses "
        "and networks, separated by commas (`10.0.0.0/8,encoder.lan`). Empty: none, so that a caller cannot reach "
        "anything inside this network. The command line can fetch from any host.",
        (),
        kind="hosts, addresses and networks joined by commas",
    )
    requests_per_address: int = setting(
        "Limits",
        "Maximum number of requests from one address that the media server handles at the same time; further ones are "
        "refused (429). A viewer has one or two in progress. Raise it, or set 0 for no limit, if many viewers share an "
        "address, for example behind a proxy or CDN.",
        1000,
        ge=0,
        le=1_000_000,
    )
    embed_from: Annotated[tuple[str, ...], NoDecode, BeforeValidator(to_origins)] = setting(
        "Limits",
        "Sites that may embed the player page in a frame: origins separated by commas (`https://example.org`), or `*` "
        "for every site. Empty: only pages of this server.",
        (),
        kind="origins joined by commas, or `*`",
    )
    play_from: Annotated[tuple[str, ...], NoDecode, BeforeValidator(to_origins)] = setting(
        "Limits",
        "Other servers whose broadcasts the player page may play (`?src=`): origins separated by commas, or `*` for "
        "every server. Broadcasts of this server, of `STREAMWAVE_BASE_URLS` and of `STREAMWAVE_PUBLIC_URL` are always "
        "allowed.",
        (),
        kind="origins joined by commas, or `*`",
    )
    max_streams: int = setting(
        "Limits",
        "Maximum number of broadcasts that are published at the same time; further ones wait in the spool.",
        16,
        ge=1,
        le=1000,
    )
    max_pixels: int = setting(
        "Limits",
        "Maximum frame size of a source, as width times height. A larger source is refused before anything is decoded. "
        "The default is 8192x4320.",
        SourceLimits.max_pixels,
        unit="pixels",
        ge=16_384,
        le=2**30,
    )
    max_tracks: int = setting(
        "Limits",
        "Maximum number of tracks of all kinds in a source, including subtitles, attachments and the tracks of other "
        "programs.",
        SourceLimits.max_tracks,
        ge=2,
        le=10_000,
    )
    source_memory_mb: int = setting(
        "Limits",
        "Memory limit of each process that opens a source: every segmenter and the probe. MP4 files whose index needs "
        "more than half of it, that is, those of two days or longer, are refused. Measured: 8K with 10 bits takes 960 "
        "MB.",
        SourceLimits.memory_mb,
        unit="MB",
        ge=256,
        le=1_000_000,
    )
    ffmpeg_memory_mb: int = setting(
        "Limits",
        "Memory limit of each FFmpeg process; a chunk that needs more is replaced by black frames. Measured with "
        "superfast: 8K into the default ladder takes 1.6 GB; 8K into 8K, 4K and the default ladder takes 4.4 GB.",
        ChunkLimits.memory_mb,
        unit="MB",
        ge=256,
        le=1_000_000,
    )
    chunk_cpu_factor: int = setting(
        "Limits",
        "CPU time that FFmpeg may use for a chunk, as a multiple of what a chunk of this many pixels takes on a typical "
        "core with H.264 and this preset, plus 30 s. A chunk that takes more is replaced by black frames without a "
        "retry.",
        ChunkLimits.cpu_factor,
        ge=1,
        le=10_000,
    )

    @property
    def chunk_limits(self) -> ChunkLimits:
        """Limits on what FFmpeg may use for one chunk."""
        return ChunkLimits(self.max_pixels, self.ffmpeg_memory_mb, self.chunk_cpu_factor)

    @property
    def source_limits(self) -> SourceLimits:
        """Limits of one source, and the FFmpeg that receives what PyAV cannot."""
        return SourceLimits(
            self.max_pixels, self.max_tracks, self.source_memory_mb, STALLED_CPU_S, ffmpeg_path=self.ffmpeg_path
        )

    @property
    def stream_limits(self) -> StreamLimits:
        """What one stream may use of this machine."""
        return StreamLimits(
            spool_bytes=int(self.spool_max_gb * 10**9),
            share_percent=self.spool_share_percent,
            chunk_bytes=self.max_chunk_mb * 10**6,
            sessions_per_minute=self.max_sessions_per_minute,
        )
