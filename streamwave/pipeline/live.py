"""The pipeline of a live broadcast without orchestration: its sessions in order, chunk by chunk."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from streamwave.broadcasts.listing import Listing
from streamwave.cluster.endpoint import endpoint_of
from streamwave.config.settings import Settings
from streamwave.errors import SpoolError
from streamwave.ffmpeg.locate import locate
from streamwave.ffmpeg.process import launcher
from streamwave.manifest.lines import BroadcastLine
from streamwave.model import ChunkRecord, State
from streamwave.pipeline import ladder as ladders
from streamwave.pipeline.job import Job
from streamwave.pipeline.messages import left, unlisted, waiting
from streamwave.pipeline.program import Program
from streamwave.pipeline.status import RunStatus
from streamwave.pipeline.worker import worker
from streamwave.publish.outputs import Outputs
from streamwave.receive.samples import SAMPLE_RATE
from streamwave.spool.advice import bitrate
from streamwave.spool.broadcast import BroadcastSpool
from streamwave.spool.encoding import FILE as ENCODING
from streamwave.spool.encoding import Encoding, keep_encoding, kept_encoding
from streamwave.spool.follow import POLL_S, Follower
from streamwave.spool.journal import OpenRecord
from streamwave.timing import whole_ms
from streamwave.util.digest import fingerprint

log = logging.getLogger("streamwave.live")

#: Where players fetch the time from. Only the media server answers there, so it works only if that serves the output.
UTC_TIMING_URL = "/time"
#: How often a broadcast that waits for its publisher checks whether the reconnect window is over.
WINDOW_LOOK_S = 0.5
#: How much of a session has to be received before its bit rate is judged.
BITRATE_OVER_MS = 10_000
#: How long a run waits for the lock of its broadcast.
HOLD_S = 1.0
#: Limit for FFmpeg to transcode one live chunk. Unlike a file, a live stream cannot wait for a hanging process.
LIVE_TIMEOUT_S = 60

#: How long outputs that are behind are waited for before that is reported.
GRACE_S = 3.0

#: Called with a sentence about what is being waited for, and a function that ends the wait.
OnWait = Callable[[str, Callable[[], None]], None]


class LiveBroadcast:
    """The only run that publishes a broadcast. A context manager; ``run`` is the flow run's ID, for display.

    Raises on entry:
        SpoolError: another run publishes this broadcast, or it is finished.
        StreamWaveError: the output or FFmpeg cannot be used.
    """

    def __init__(self, spool: BroadcastSpool, settings: Settings, run: str) -> None:
        self.spool = spool
        self.settings = settings
        self.run = run
        self.info = spool.info()
        self.job: Job | None = None
        self.trouble: str | None = None  # the error that ended the receiving of a session
        self.left_behind: dict[str, str] = {}  # errors of the outputs that lack a part of the broadcast, by URL
        self._lock: IO[bytes] | None = None
        self._work = spool.folder / "work"
        self.status = RunStatus(spool, run)
        self._program = Program(spool, self.info)
        self._listing = Listing(self.info, settings.store_options(self.info.output), self.status.warn)
        self._token = fingerprint(run, spool.folder, time.time_ns())

    def __enter__(self) -> Self:
        self._lock = self._hold()
        try:
            if self.spool.finished:
                raise SpoolError(f"{self.spool.stream}/{self.spool.broadcast} is finished; there is nothing to publish")
            self._binary = locate(str(self.settings.ffmpeg_path) if self.settings.ffmpeg_path else None)
            # Chunks that a killed run had in progress are done again.
            shutil.rmtree(self._work, ignore_errors=True)
            self.status.tell(State.STARTING)
        except BaseException:
            self._lock.close()
            raise
        return self

    def _hold(self) -> IO[bytes]:
        """Take the lock of the broadcast. Waits up to ``HOLD_S``, because ``run_alive`` briefly holds the lock too.

        Raises:
            SpoolError: another run holds the lock, or the spool cannot be written.
        """
        end = time.monotonic() + HOLD_S
        while True:
            trouble = f"another run publishes {self.spool.stream}/{self.spool.broadcast}"
            try:
                lock = self.spool.hold_run()
            except OSError as error:
                trouble, lock = f"the spool {self.spool.folder} cannot be written ({error.strerror})", None
            if lock is not None:
                return lock
            if time.monotonic() > end:
                raise SpoolError(trouble)
            time.sleep(POLL_S)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.status.tell(State.FAILED, error=str(error) or type(error).__name__)
        if self.job is not None:
            worker.release(self.job)
        shutil.rmtree(self._work, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()

    def chunks(self, tick: Callable[[], None] = lambda: None) -> Iterator[tuple[Job, ChunkRecord]]:
        """Yield the chunks of all sessions that have not been published yet, until the broadcast is closed.

        ``tick`` is called every few milliseconds while nothing arrives; its exceptions propagate.
        """
        number, look_at = 0, 0.0
        while True:
            sessions = self.spool.sessions()
            if number < len(sessions):
                yield from self._session(sessions[number], tick)
                number += 1
            elif time.monotonic() >= look_at and self.spool.close_if_over(time.time_ns() // 1_000_000):
                if number == len(self.spool.sessions()):
                    return
            else:
                look_at = max(look_at, time.monotonic() + WINDOW_LOOK_S) if time.monotonic() >= look_at else look_at
                if self.status.state is not State.WAITING:
                    self.status.tell(State.WAITING)
                tick()
                time.sleep(POLL_S)

    def _session(self, folder: Path, tick: Callable[[], None]) -> Iterator[tuple[Job, ChunkRecord]]:
        follower = Follower(folder, alive=lambda: self.spool.receiving(folder))
        first: int | None = None
        job: Job | None = None
        size = 0
        try:
            for record in follower.chunks(lambda: self._hear(follower, tick)):
                self._hear(follower)
                if job is None:
                    assert follower.opened is not None
                    job = self._job(folder, follower.opened, record)
                    first = worker.publication(job).next_chunk(job.session)
                size += record.size_bytes
                if record.video_file is not None and record.next_ms >= BITRATE_OVER_MS:
                    found = bitrate(size * 8000 // record.next_ms, job.renditions, record.next_ms)
                    if found is not None and not self.status.has_advised(found.code):
                        self.status.advise(found)
                if first is not None and record.number >= first:
                    yield job, record
                else:
                    job.forget(record.number)  # an earlier run has published it; the spool is bounded
        except SpoolError as error:
            # Everything received so far is published, and the publisher may still reconnect.
            self.status.warn(f"session {folder.name}: {error}")
        if follower.ended is not None and follower.ended.error:
            self.trouble = follower.ended.error
            # A broadcast without any chunk fails a run of the command line with this error, so don't log it twice.
            level = logging.INFO if self.job is None else logging.WARNING
            self.status.warn(f"session {folder.name}: {follower.ended.error}", level)

    def _hear(self, follower: Follower, tick: Callable[[], None] = lambda: None) -> None:
        """Copy new advice of the segmenter to the status."""
        new, follower.advice[:] = list(follower.advice), []
        for found in new:
            self.status.advise(found)
        tick()

    def _job(self, folder: Path, opened: OpenRecord, record: ChunkRecord) -> Job:
        kept = kept_encoding(folder)
        encoding = kept or self._encoding(opened)
        job = Job(
            session=folder.name,
            period=f"p{int(folder.name)}",
            token=self._token,
            wall_unix_ms=opened.origin_unix_ms,
            spool=str(folder),
            work=str(self._work / folder.name),
            output=self.info.output,
            manifests=True,
            utc_timing_url=UTC_TIMING_URL,
            rate=opened.rate or Fraction(SAMPLE_RATE, 1024),
            segment_ms=encoding.segment_ms,
            renditions=encoding.renditions,
            ffmpeg_path=self._binary.path,
            preset=encoding.preset,
            crf=encoding.crf,
            encoder_threads=encoding.encoder_threads,
            video=opened.source.video,
            store_options=self.settings.store_options(self.info.output),
            ffmpeg_slots=self.settings.ffmpeg_slot_count,
            ffmpeg_timeout_s=min(self.settings.ffmpeg_timeout_s, LIVE_TIMEOUT_S),
            limits=self.settings.chunk_limits,
            patience_s=self.settings.output_patience_s,
            base_urls=self.settings.base_urls_of(f"{self.info.stream}/{self.info.broadcast}"),
            retries=self.settings.chunk_retries,
            b_frames=False,  # hls.js misplaces periods otherwise, see docs/decisions/0005-timing-inside-segments.md
            passthrough=encoding.passthrough,
            scheduler=endpoint_of(self.settings),
        )
        if kept is None:
            if self.settings.passthrough == "auto":
                job, self.status.passthrough = job.passing_through(record)
            keep_encoding(folder, encoding.model_copy(update={"passthrough": job.passthrough}))
            self.spool.share(folder, ENCODING)
        first = self.job is None
        self.job = job
        cluster = worker.cluster(job)
        if cluster is not None:
            cluster.on_news, cluster.on_look = self.status.warn, self.status.pulse
        published = worker.publication(job)
        published.on_change = self._on_output
        source = launcher(job.ffmpeg_slots) if cluster is None else cluster
        self.status.begin(job, published, worker.meter(job), lambda: source.slots)
        self._program.receive(opened)
        if first:
            published.begin(
                BroadcastLine(
                    created_unix_ms=opened.origin_unix_ms,
                    segment_ms=encoding.segment_ms,
                    fingerprint=fingerprint(self.info.stream, self.info.broadcast),
                    dvr_window_ms=self.settings.dvr_window_s * 1000 or None,
                    keep=self.settings.record,
                    info=self._program.now(),
                ),
                known_chunks=self.status.known_chunks,
            )
        self._describe()
        self.status.tell(State.LIVE)
        return job

    def _encoding(self, opened: OpenRecord) -> Encoding:
        """The encoding parameters of a new session, from the settings."""
        # EXT-X-TARGETDURATION must never change, so all sessions of a broadcast use the segment length of the first.
        first = kept_encoding(self.spool.sessions()[0])
        return Encoding(
            renditions=ladders.plan(
                opened.source, ladders.load_ladder(self.settings.ladder), sound=opened.sample_rate is not None
            ),
            segment_ms=first.segment_ms if first else whole_ms(self.settings.segment_seconds),
            preset=self.settings.preset,
            crf=self.settings.crf,
            encoder_threads=self.settings.encoder_threads_for(live=True),
        )

    def _describe(self) -> None:
        """Pass the publisher's current metadata on to the next manifest."""
        if self.publication is not None:
            self.publication.describe(self._program.now())

    @property
    def publication(self) -> Outputs | None:
        """The publication, once a session has started."""
        return worker.publication(self.job) if self.job is not None else None

    def stored(self) -> None:
        """Record that one more chunk has been published. Called from different threads while windows overlap."""
        if self.publication is not None:
            self._listing.begin(self.publication)
        self._describe()
        self.status.warn_of_filler()
        self.status.tell()

    def _on_output(self, news: str) -> None:
        """An output started or stopped refusing. Update the status now, because no chunk may be published meanwhile."""
        self.status.warn(news)
        self.status.tell()

    def finish(self, on_wait: OnWait = lambda news, stop: None) -> None:
        """Write the recording's manifests and mark the broadcast as finished, after all chunks have been published.

        The recording is complete as soon as one output has all of it. If others are behind then, ``on_wait`` is called with a
        sentence that says so and a function that ends the wait for them.
        """
        self.status.tell(State.FINISHING)
        published = self.publication
        if published is not None:
            self._describe()
            published.finish_first()
            whole = published.completion.wait_for_others(GRACE_S, self.status.pulse, until_tried=False)
            before = published.complete
            self._list(published, before, on_wait)
            if not whole:
                self._wait_for_others(published, on_wait)
                self._list(published, set(published.complete) - set(before), on_wait)
        self.spool.mark_finished()
        self.status.tell(State.RECORDED)
        self.spool.hand_over()
        for session in self.spool.sessions():
            shutil.rmtree(session, ignore_errors=True)

    def _list(self, published: Outputs, places: Collection[str], on_wait: OnWait) -> None:
        """List the recording at ``places``, retrying, because otherwise viewers would see it as live forever."""
        refused = self._listing.update(published, places)
        if refused:
            on_wait(unlisted(published, refused), published.completion.hurry)
            self._listing.try_again(published, refused, self.status.pulse)

    def _wait_for_others(self, published: Outputs, on_wait: OnWait) -> None:
        news = waiting(published)
        self.status.warn(f"{news}, or until its run is cancelled")
        self.status.tell(State.FINISHING)
        on_wait(news, published.completion.hurry)
        published.completion.wait_for_others(published.patience_s, self.status.pulse)
        self.left_behind = published.left_behind
        for url, why in self.left_behind.items():
            self.status.warn(left(url, why, f"{self.spool.stream}/{self.spool.broadcast}"))
