"""A job: everything that the tasks of one run need, as plain values that can be sent to any machine."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from pydantic import Field

from streamwave.cluster.endpoint import Endpoint
from streamwave.errors import MediaError
from streamwave.ffmpeg.commands import EncoderSettings
from streamwave.ffmpeg.limits import ChunkLimits
from streamwave.ffmpeg.locate import has_zimg
from streamwave.ffmpeg.picture import is_wide
from streamwave.ffmpeg.process import launcher
from streamwave.ffmpeg.transcode import Transcoder
from streamwave.model import Chunk, ChunkRecord, Frozen, Passthrough, Rational, Rendition, VideoInfo
from streamwave.pipeline.passthrough import as_is, plan
from streamwave.spool.consumed import note_forgotten
from streamwave.spool.journal import MEDIA_SUFFIXES, chunk_name
from streamwave.storage.location import BaseUrl
from streamwave.timing import Grid, split_evenly

log = logging.getLogger("streamwave.job")


class Job(Frozen):
    """One session being transcoded and published.

    ``wall_unix_ms`` is the wall clock at the session's first frame (None for a file). ``spool`` and ``work`` are the folders
    of received chunks and of intermediate results. ``output`` is the URL of an output, or several (``storage.outputs``); if
    all refuse, they are waited for at most ``patience_s``. ``store_options`` are the S3 options. ``token`` fences the output
    against other runs. If ``manifests`` is false, manifests are written only at the end. ``retries``: how often a failed
    transcode is retried before the chunk is replaced by black frames or silence. ``scheduler``: whose workers encode
    video; None: this machine does. ``processes``: FFmpeg processes that share the video renditions of a chunk.
    """

    session: str
    period: str
    token: str
    wall_unix_ms: int | None = None
    spool: str
    work: str
    output: str
    manifests: bool
    utc_timing_url: str | None = None
    rate: Rational
    segment_ms: int
    renditions: tuple[Rendition, ...]
    ffmpeg_path: str
    preset: str
    crf: int
    encoder_threads: int
    video: VideoInfo | None = None
    store_options: dict[str, Any] = Field(default_factory=dict)
    ffmpeg_slots: int
    ffmpeg_timeout_s: int
    limits: ChunkLimits = ChunkLimits()
    b_frames: bool = True
    patience_s: int = 0
    base_urls: tuple[BaseUrl, ...] = ()
    retries: int = 2
    passthrough: Passthrough | None = None
    scheduler: Endpoint | None = None
    processes: int = 1

    @property
    def video_renditions(self) -> tuple[Rendition, ...]:
        """The video renditions."""
        return tuple(r for r in self.renditions if r.kind == "video")

    def rendition(self, name: str) -> Rendition:
        """The rendition called ``name``."""
        return next(r for r in self.renditions if r.name == name)

    def transcoder(self) -> Transcoder:
        """The transcoder of this job in this process."""
        encoder = EncoderSettings(
            self.preset,
            self.crf,
            self.encoder_threads,
            self.video,
            self.b_frames,
            # Asking takes the start of a process, and most sources need no conversion of their colours.
            self.video is None or not is_wide(self.video) or has_zimg(self.ffmpeg_path),
            max_pixels=self.limits.max_pixels,
        )
        if self.passthrough is not None:
            encoder = encoder.numbered(self.rendition(self.passthrough.rendition), self.passthrough.encoder_id)
        return Transcoder(
            ffmpeg_path=self.ffmpeg_path,
            encoder=encoder,
            launcher=launcher(self.ffmpeg_slots),
            work=Path(self.work),
            timeout_s=self.ffmpeg_timeout_s,
            limits=self.limits,
            passthrough=self.passthrough,
            processes=self.processes,
        )

    def passing_through(self, first: ChunkRecord) -> tuple[Job, str]:
        """This job with passthrough of the source's video as the largest rendition if its ``first`` chunk allows that; and a
        sentence about the decision.
        """
        if not self.video_renditions:
            return self, "there is no video"
        largest = self.video_renditions[0]
        try:
            found = plan(place(self, first), largest, self.segment_ms, self.transcoder())
        except MediaError as error:
            job, said = self, f"{largest.name} is encoded instead of passed through: {error}"
        else:
            job, said = (
                self.model_copy(update={"passthrough": found}),
                f"{largest.name} is the source's video, passed through",
            )
        log.info("session %s: %s", self.session, said)
        return job, said

    def forget(self, number: int) -> None:
        """Delete the work files and the spool files of a published chunk."""
        shutil.rmtree(Path(self.work) / f"{number:06d}", ignore_errors=True)
        for suffix in MEDIA_SUFFIXES:
            (Path(self.spool) / chunk_name(number, suffix[1:])).unlink(missing_ok=True)
        note_forgotten(Path(self.spool), number)

    def packaged_path(self, number: int) -> Path:
        """The file that describes a packaged chunk, written by the package stage for the store stage."""
        return Path(self.work) / f"{number:06d}" / "packaged.json"


def place(job: Job, record: ChunkRecord) -> Chunk:
    """Place a received chunk on the frame grid and split it into segments.

    Every chunk gets at least one frame, even a last one whose single frame is between two grid points.

    Raises:
        MediaError: its timestamps run backwards.
    """
    grid = Grid(job.rate)
    first, after = grid.frame_at_ms(record.start_ms), grid.frame_at_ms(record.next_ms)
    if after < first:
        raise MediaError(
            f"the timestamps of chunk {record.number} run backwards by {record.start_ms - record.next_ms} ms"
        )
    after = max(after, first + 1)
    spool = Path(job.spool)
    chunk = Chunk(
        number=record.number,
        rate=job.rate,
        first_frame=first,
        frame_count=after - first,
        segments=split_evenly(after - first, job.rate * job.segment_ms / 1000),
        video_path=str(spool / record.video_file) if record.video_file else None,
        pictures=record.pictures + record.lead,
        later_ms=record.later_ms,
        held=record.held,
        audio_path=str(spool / record.audio_file) if record.audio_file else None,
        audio_first=record.audio_first,
        audio_count=record.audio_count,
        closed_unix_ms=record.closed_unix_ms,
    )
    if job.passthrough is None or record.held is not None:
        return chunk
    largest = job.rendition(job.passthrough.rendition)
    return as_is(chunk, job.passthrough, largest.max_bps, job.segment_ms, job.b_frames)
