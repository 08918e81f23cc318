"""A job: everything that the tasks of one run need to know, as plain values that travel to any machine."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from pydantic import Field

from streamwave.errors import MediaError
from streamwave.ffmpeg.commands import EncoderSettings
from streamwave.ffmpeg.limits import ChunkLimits
from streamwave.ffmpeg.locate import has_zimg
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

    ``wall_unix_ms`` is the wall clock at the session's first picture (None for a file). ``spool`` and ``work`` are
    folders (received chunks; results on their way), ``output`` a store's URL or several (``storage.outputs``), which are
    waited for at most ``patience_s`` when all refuse; ``store_options`` what all on S3 need. ``token`` fences the
    output against other runs. ``manifests`` False holds the manifests back until the end. ``retries``: how often a
    transcode that failed is tried again before black pictures, or silence, take the chunk's place.
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

    @property
    def video_renditions(self) -> tuple[Rendition, ...]:
        """The renditions that FFmpeg makes."""
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
            has_zimg(self.ffmpeg_path),
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
        )

    def passing_through(self, first: ChunkRecord) -> tuple[Job, str]:
        """This job with the source's own pictures as its largest rendition, if its ``first`` chunk allows it, and a word."""
        if not self.video_renditions:
            return self, "there are no pictures"
        largest = self.video_renditions[0]
        try:
            found = plan(place(self, first), largest, self.segment_ms, self.transcoder())
        except MediaError as error:
            job, said = self, f"{largest.name} is encoded: {error}"
        else:
            job, said = (
                self.model_copy(update={"passthrough": found}),
                f"{largest.name} shows the source's own pictures",
            )
        log.info("session %s: %s", self.session, said)
        return job, said

    def forget(self, number: int) -> None:
        """Remove what a published chunk leaves behind: its work files and its files in the spool."""
        shutil.rmtree(Path(self.work) / f"{number:06d}", ignore_errors=True)
        for suffix in MEDIA_SUFFIXES:
            (Path(self.spool) / chunk_name(number, suffix[1:])).unlink(missing_ok=True)
        note_forgotten(Path(self.spool), number)

    def packaged_path(self, number: int) -> Path:
        """Where the packaged chunk is described, between the package and the store task."""
        return Path(self.work) / f"{number:06d}" / "packaged.json"


def place(job: Job, record: ChunkRecord) -> Chunk:
    """Where a received chunk lies on the frame grid, and how it is shared out over segments.

    A last chunk of a single picture between two grid points takes the next one: no chunk is without a place.

    Raises:
        MediaError: its time runs backwards.
    """
    grid = Grid(job.rate)
    first, after = grid.frame_at_ms(record.start_ms), grid.frame_at_ms(record.next_ms)
    if after < first:
        raise MediaError(f"chunk {record.number} lasts {record.next_ms - record.start_ms} ms")
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
