"""A file's way through the pipeline without any orchestration: prepare a job, and clean up whatever way it ends."""

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
from streamwave.config.limits import StreamLimits
from streamwave.config.settings import Settings
from streamwave.errors import IncompleteError, OutputError, SourceError, StreamWaveError
from streamwave.ffmpeg.locate import locate
from streamwave.ffmpeg.probe import check_decodable, check_track
from streamwave.ffmpeg.probing import probe
from streamwave.manifest.ledger import BroadcastLine
from streamwave.manifest.progress import STANDS_STILL
from streamwave.model import ChunkRecord, SourceInfo
from streamwave.pipeline import ladder as ladders
from streamwave.pipeline.job import Job
from streamwave.pipeline.worker import worker
from streamwave.receive.audio import SAMPLE_RATE
from streamwave.receive.launch import start_segmenter, stop_segmenter
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

#: A file is cut into about this many chunks or more: enough to keep several machines busy, and no more than needed,
#: because each chunk costs the start of an FFmpeg process and eight task runs (docs/decisions/0004-chunk-length.md).
FEW_CHUNKS = 10
#: Chunks are not made longer than this many segments for that reason, so that a lost one costs little.
LONG_CHUNK_SEGMENTS = 5
#: Task runs of one file that Prefect can still draw as one graph: beyond that, chunks grow with the file.
MAX_CHUNKS = 600
#: Chunks that a message names by their number.
NAMED = 10
#: Advice that is worth something to the owner of a file; the rest is for publishers.
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
#: Name of a file's session in the ledger; those that follow it have their number behind it.
SESSION = "file"


@dataclass
class FileSession:
    """A file that is being read into its spool, as one session, or several where its pictures change within it.

    ``job`` and ``follower`` are those of the session that is being read, ``first_chunk`` is where a resumed run goes on
    in it (None: an earlier run has published all of it). ``advice`` is what was found in the file so far.
    """

    job: Job
    follower: Follower
    source: SourceInfo
    chosen: ladders.Ladder
    alive: Callable[[], bool]
    passthrough: bool = False

    def __post_init__(self) -> None:
        self.advice: list[Advice] = []
        self.first_chunk = worker.publication(self.job).next_chunk(self.job.session)

    def chunks(self) -> Iterator[tuple[Job, ChunkRecord]]:
        """Every chunk that is still to be published, over all sessions, with the job that it belongs to.

        Raises:
            SpoolError: the segmenter died without closing the journal.
        """
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
                    self.job.forget(record.number)  # an earlier run has published it; the spool has to have room
            self._hear()
            if self.follower.ended is None or self.follower.ended.reason != CONTINUED:
                return
            self.follower = Follower(following_folder(self.follower.folder), alive=self.alive)

    def _hear(self) -> None:
        self.advice += self.follower.advice
        self.follower.advice = []

    def _following(self) -> Job:
        """The job of a session that goes on where the one before ended."""
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
        """How much is published, in milliseconds of media."""
        return round_half_up(worker.publication(self.job).timeline.duration * 1000)

    def check_complete(self) -> None:
        """Verify that the source was read to its end.

        Raises:
            SourceError: it broke off; the message says where and why.
        """
        ended = self.follower.ended
        if ended is not None and ended.error is not None:
            if ended.reason == SPOOL_FAILED:
                raise OutputError(f"{ended.error}; free some space or set STREAMWAVE_SPOOL_DIR to another folder")
            raise SourceError(f"{ended.error}; it was readable for {self.published_ms() / 1000:.1f} s")

    def notes(self) -> list[str]:
        """Sentences on what was found in the file that its owner should know."""
        ledger, told = (
            worker.publication(self.job).ledger,
            dict.fromkeys(a.text for a in self.advice if a.code in NOTED),
        )
        return [*told, *([STANDS_STILL.format(ledger.damaged_chunks)] if ledger.damaged_chunks else [])]

    def filler(self) -> str | None:
        """A sentence on the chunks in whose place black pictures or silence were published; None if there are none."""
        ledger = worker.publication(self.job).ledger
        if not ledger.filled_numbers:
            return None
        what = [
            f"{count} of {ledger.chunk_count} chunks {how}"
            for count, how in ((ledger.black_chunks, "are shown in black"), (ledger.silent_chunks, "are silent"))
            if count
        ]
        numbers = ", ".join(str(number) for number in ledger.filled_numbers[:NAMED])
        more = ", …" if len(ledger.filled_numbers) > NAMED else ""
        return (
            f"{' and '.join(what)} because they could not be decoded (numbers {numbers}{more}); "
            "everything else is there; mend the source and run the command again with --overwrite"
        )

    def incomplete(self) -> IncompleteError | None:
        """What is to be raised after all is published: it is not at every output, or filler is in it."""
        behind, filler = worker.publication(self.job).left_behind, self.filler()
        if filler is None and not behind:
            return None
        faults = [f"not all of it is at {redact(url)}: {fault}" for url, fault in behind.items()]
        return IncompleteError("; ".join([*faults, *filter(None, [filler])]), tuple(behind))


def chunk_ms(segment_ms: int, duration_ms: int | None) -> int:
    """Least chunk length for a file of ``duration_ms``, in milliseconds: a whole number of segments."""
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
    """Prepare everything for transcoding ``source`` to ``output``; afterwards no process and no work file is left.

    When the body raises, what this run published is removed too. ``confine`` allows only files under the roots that
    the settings name, ``source_hosts`` only public hosts and those; ``audio_track`` is counted from 1, without it the
    settings say which.

    Raises:
        StreamWaveError: the source, the output, the ladder or a setting can't be used; nothing was written.
    """
    url = resolve_source(source, settings.allowed_file_roots if confine else None)
    if source_hosts is not None:
        check_host(url, source_hosts)
        confine_hosts(source_hosts)
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
                live=False,  # it ends, whatever its address
                max_ahead=settings.max_chunks_in_flight + FILE_AHEAD,
                numbered=True,
                source_hosts=source_hosts,
                stream_limits=StreamLimits(),  # what one publisher may use is no bound of a person's own file
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
    """A new folder for one run, and the file in it that is locked for as long as the run lives."""
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
