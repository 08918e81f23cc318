"""The pipeline of a file without orchestration: prepare a job, and clean up however it ends."""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO

from streamwave.broadcasts.delete import clear
from streamwave.cluster.endpoint import endpoint_of
from streamwave.config.settings import Settings
from streamwave.errors import IncompleteError, OutputError, SourceError, StreamWaveError
from streamwave.ffmpeg.locate import locate
from streamwave.ffmpeg.probe import check_decodable, check_track
from streamwave.ffmpeg.probing import probe
from streamwave.manifest.lines import BroadcastLine
from streamwave.manifest.progress import STANDS_STILL
from streamwave.model import ChunkRecord, SourceInfo, StreamLimits
from streamwave.pipeline import ladder as ladders
from streamwave.pipeline.job import Job
from streamwave.pipeline.worker import worker
from streamwave.receive.launch import start_segmenter, stop_segmenter
from streamwave.receive.samples import SAMPLE_RATE
from streamwave.sources.address import local_path, redact, resolve_source
from streamwave.sources.hosts import check_host
from streamwave.sources.hosts import confine as confine_hosts
from streamwave.spool.advice import Advice
from streamwave.spool.follow import Follower
from streamwave.spool.journal import CONTINUED, FIRST_SESSION, SPOOL_FAILED, following_folder
from streamwave.spool.options import FILE_AHEAD, Options
from streamwave.storage.outputs import check_outputs, outputs
from streamwave.timing import round_half_up, whole_ms
from streamwave.util.digest import fingerprint
from streamwave.util.scratch import make_scratch

#: Target for the minimum number of chunks of a file: enough to keep several machines busy, but not more, because each chunk
#: costs the start of an FFmpeg process and eight task runs (docs/decisions/0004-chunk-length.md).
FEW_CHUNKS = 10
#: Maximum number of segments of a chunk, so that a lost chunk costs little.
LONG_CHUNK_SEGMENTS = 5
#: Maximum number of chunks that Prefect can draw as one graph; in longer files, chunks are longer.
MAX_CHUNKS = 600
#: Maximum number of chunks that a message lists.
NAMED = 10
#: Codes of advice that is useful to the owner of a file; the rest is for live publishers.
NOTED = frozenset(
    {
        "size-changed",
        "rate-changed",
        "rate-varies",
        "clock-jumped",
        "sound-early",
        "sound-late",
        "sound-slips",
        "damaged",
        "pictures-lost",
        "tracks-added",
        "track-undecodable",
        "track-encrypted",
        "track-chosen",
        "rate-capped",
    }
)
#: Name of a file's first session in the ledger; further ones have their number appended.
SESSION = "file"


@dataclass
class FileSession:
    """A file that is being read into its spool, as one session, or as several if its video format changes.

    ``job`` and ``follower`` belong to the session that is being read; ``first_chunk`` is the chunk at which a resumed run
    continues (None: an earlier run has published the whole session). ``advice`` is what was found in the file so far. If
    ``closing`` is set, ``chunks`` raises an error instead of waiting for more.
    """

    job: Job
    follower: Follower
    source: SourceInfo
    chosen: ladders.Ladder
    alive: Callable[[], bool]
    passthrough: bool = False

    def __post_init__(self) -> None:
        self.closing = False
        self.advice: list[Advice] = []
        self.first_chunk = worker.publication(self.job).next_chunk(self.job.session)

    def chunks(self) -> Iterator[tuple[Job, ChunkRecord]]:
        """Yield the chunks of all sessions that have not been published yet, with their jobs.

        If all cores but one would be idle during the last chunk, its renditions are divided among them.

        Raises:
            SpoolError: the segmenter died without closing the journal.
        """
        last: tuple[Job, ChunkRecord] | None = None
        for turn, (job, record) in enumerate(self._unpublished()):
            if last is not None:
                yield last
                last = None
            if turn and turn % job.ffmpeg_slots == 0:
                last = job, record  # perhaps: the next chunk, or the end of the journal, will tell
            else:
                yield job, record
        if last is not None:
            job, record = last
            yield job.model_copy(update={"processes": job.ffmpeg_slots}), record

    def _unpublished(self) -> Iterator[tuple[Job, ChunkRecord]]:
        while True:
            known, begun = self.follower.folder == Path(self.job.spool), False
            for record in self.follower.chunks(self._hear):
                self._hear()
                if not begun:
                    job = self.job if known else self._following()
                    self.job, begun = job.passing_through(record)[0] if self.passthrough else job, True
                    self.first_chunk = worker.publication(self.job).next_chunk(self.job.session)
                if self.first_chunk is not None and record.number >= self.first_chunk:
                    yield self.job, record
                else:
                    self.job.forget(record.number)  # an earlier run has published it; make room in the spool
            self._hear()
            if self.follower.ended is None or self.follower.ended.reason != CONTINUED:
                return
            self.follower = Follower(following_folder(self.follower.folder), alive=self.alive)

    def _hear(self) -> None:
        if self.closing:
            raise StreamWaveError("the run is ending")
        self.advice += self.follower.advice
        self.follower.advice = []

    def _following(self) -> Job:
        """The job of the session that follows the current one."""
        opened, folder = self.follower.opened, self.follower.folder
        assert opened is not None
        return self.job.model_copy(
            update={
                "session": f"{SESSION}-{int(folder.name)}",
                "period": f"p{int(folder.name)}",
                "spool": str(folder),
                "work": str(Path(self.job.work).with_name(f"work-{folder.name}")),
                "rate": opened.rate or Fraction(SAMPLE_RATE, 1024),
                "renditions": ladders.plan(opened.source, self.chosen),
                "video": opened.source.video,
                "passthrough": None,
            }
        )

    def published_ms(self) -> int:
        """Length of the published media in milliseconds."""
        return round_half_up(worker.publication(self.job).timeline.duration * 1000)

    def check_complete(self) -> None:
        """Check that the source was read to its end.

        Raises:
            SourceError: reading failed; the message says where and why.
            OutputError: the spool's disk is full.
        """
        ended = self.follower.ended
        if ended is not None and ended.error is not None:
            if ended.reason == SPOOL_FAILED:
                raise OutputError(f"{ended.error}; free some space or set STREAMWAVE_SPOOL_DIR to another folder")
            raise SourceError(f"{ended.error}; it was readable for {self.published_ms() / 1000:.1f} s")

    def notes(self) -> list[str]:
        """Sentences about the file that its owner should know."""
        ledger = worker.publication(self.job).ledger
        noted = dict.fromkeys(a.text for a in self.advice if a.code in NOTED)
        return [*noted, *([STANDS_STILL.format(ledger.losses.damaged_chunks)] if ledger.losses.damaged_chunks else [])]

    def filler(self) -> str | None:
        """A sentence about the chunks that were replaced by black frames or silence; None if there are none."""
        ledger = worker.publication(self.job).ledger
        if not ledger.losses.filled_numbers:
            return None
        what = [
            f"{count} of {ledger.chunk_count} chunks {how}"
            for count, how in ((ledger.losses.black_chunks, "are black"), (ledger.losses.silent_chunks, "are silent"))
            if count
        ]
        numbers = ", ".join(str(number) for number in ledger.losses.filled_numbers[:NAMED])
        more = ", …" if len(ledger.losses.filled_numbers) > NAMED else ""
        return (
            f"{' and '.join(what)} because they could not be decoded (numbers {numbers}{more}); "
            "everything else is complete; repair the source and transcode it again with overwrite=True"
        )

    def incomplete(self) -> IncompleteError | None:
        """The error to raise at the end if outputs lack a part of the result, or if it contains filler; else None."""
        behind, filler = worker.publication(self.job).left_behind, self.filler()
        if filler is None and not behind:
            return None
        faults = [f"{redact(url)} is incomplete: {fault}" for url, fault in behind.items()]
        return IncompleteError("; ".join([*faults, *filter(None, [filler])]), tuple(behind))


def chunk_ms(segment_ms: int, duration_ms: int | None) -> int:
    """Minimum chunk length in milliseconds for a file of ``duration_ms``: a whole number of segments."""
    if duration_ms is None:
        return segment_ms
    segments = duration_ms // (segment_ms * FEW_CHUNKS)
    least = -(-duration_ms // (segment_ms * MAX_CHUNKS))
    return segment_ms * max(1, min(segments, LONG_CHUNK_SEGMENTS), least)


@contextmanager
def file_session(
    source: str,
    settings: Settings,
    *,
    output: str,
    ladder: str | None,
    overwrite: bool,
    audio_track: int | None = None,
    confine: bool = False,
    source_hosts: tuple[str, ...] | None = None,
) -> Iterator[FileSession]:
    """Prepare to transcode ``source`` to ``output``. On exit, all processes have ended and all work files are deleted.

    If the body raises, what this run published is deleted too. ``confine`` allows only files under the roots in the
    settings; ``source_hosts`` allows only public hosts and those listed. ``audio_track`` is counted from 1 and defaults to
    the setting.

    Raises:
        StreamWaveError: the source, the output, the ladder or a setting is invalid; nothing was written.
    """
    url = resolve_source(source, settings.allowed_file_roots if confine else None)
    if source_hosts is not None:
        check_host(url, source_hosts)
        confine_hosts(source_hosts)
    scheduler = endpoint_of(settings)
    binary = locate(str(settings.ffmpeg_path) if settings.ffmpeg_path else None)
    chosen = ladders.choose(settings.ladder, ladder)
    track = settings.audio_index(audio_track)
    info = probe(url, track, settings.source_limits)
    check_decodable(info, binary)
    check_track(info, audio_track)
    renditions = ladders.plan(info, chosen)
    check_outputs(output, settings.s3_options)
    stores = [target.open(settings.s3_options) for target in outputs(output)]
    work_root, owner = _temporary_folder(settings)
    spool, work = work_root / "spool" / FIRST_SESSION, work_root / "work"
    segment_ms = whole_ms(settings.segment_seconds)
    print_of_job = fingerprint(
        url, _file_identity(url), segment_ms, [r.model_dump_json() for r in renditions],
        settings.preset, settings.crf, settings.encoder_threads_for(live=False), track,
        settings.passthrough,
    )  # fmt: skip
    segmenter = None
    job: Job | None = None
    try:
        segmenter = start_segmenter(
            Options.from_settings(
                settings,
                url,
                spool,
                audio_kbps=chosen.audio_kbps,
                segment_ms=chunk_ms(segment_ms, info.duration_ms),
                audio_track=track,
                live=False,  # it has an end, whatever its URL
                max_ahead=settings.max_chunks_in_flight + FILE_AHEAD,
                numbered=True,
                source_hosts=source_hosts,
                stream_limits=StreamLimits(),  # limits are for publishers, not for the user's own files
                store_options={},  # its spool is always a folder
            )
        )
        process = segmenter

        def alive() -> bool:
            return process.poll() is None

        follower = Follower(spool, alive=alive)
        opened = follower.wait_open(timeout_s=120)
        job = Job(
            session=SESSION,
            period="p0",
            token=fingerprint(work_root, time.time_ns()),
            spool=str(spool),
            work=str(work),
            output=output,
            manifests=False,
            rate=opened.rate or Fraction(SAMPLE_RATE, 1024),
            segment_ms=segment_ms,
            renditions=renditions,
            ffmpeg_path=binary.path,
            preset=settings.preset,
            crf=settings.crf,
            encoder_threads=settings.encoder_threads_for(live=False),
            video=opened.source.video,
            store_options=settings.store_options(output),
            base_urls=settings.base_urls,
            ffmpeg_slots=settings.ffmpeg_slot_count,
            ffmpeg_timeout_s=settings.ffmpeg_timeout_s,
            limits=settings.chunk_limits,
            retries=settings.chunk_retries,
            scheduler=scheduler,
        )
        for store in stores:
            clear(store, whole=overwrite)
            store.tidy()
        published = worker.publication(job)
        try:
            published.begin(
                BroadcastLine(
                    created_unix_ms=time.time_ns() // 1_000_000, segment_ms=segment_ms, fingerprint=print_of_job
                )
            )
            yield FileSession(job, follower, info, chosen, alive, passthrough=settings.passthrough == "auto")
        except BaseException:
            with suppress(StreamWaveError):
                published.discard()
            raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(
                f"no space left for work files in {settings.spool_dir}; "
                f"free some or set {settings.spool_dir_variable} to a folder on another disk"
            ) from error
        raise
    finally:
        if segmenter is not None:
            stop_segmenter(segmenter, graceful=False)
        if job is not None:
            worker.release(job)
        shutil.rmtree(work_root, ignore_errors=True)
        owner.close()
        for store in stores:
            store.prune()


def _temporary_folder(settings: Settings) -> tuple[Path, IO[bytes]]:
    """A new folder for one run, and the file in it that stays locked until the run ends."""
    try:
        return make_scratch(settings.spool_dir, "file-")
    except OSError as error:
        raise OutputError(
            f"the spool {settings.spool_dir} cannot be written ({error.strerror}); "
            f"set {settings.spool_dir_variable} to another folder"
        ) from None


def _file_identity(url: str) -> str:
    if not url.startswith("file:"):
        return ""
    stat = Path(local_path(url)).stat()
    return f"{stat.st_size} {stat.st_mtime_ns}"
