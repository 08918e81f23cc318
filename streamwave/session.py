"""A file's way through the pipeline without any orchestration: prepare a job, and clean up whatever way it ends."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from streamwave import ladder as ladders
from streamwave.errors import OutputError, SourceError, StreamWaveError
from streamwave.ffmpeg.locate import locate
from streamwave.ffmpeg.probe import probe
from streamwave.job import Job, fingerprint, publication, release, target_ms
from streamwave.manifest.ledger import BroadcastLine
from streamwave.model import Colour, SourceInfo
from streamwave.settings import Settings
from streamwave.source import resolve_source
from streamwave.spool.audio import SAMPLE_RATE
from streamwave.spool.follow import Follower
from streamwave.spool.launch import start_segmenter, stop_segmenter
from streamwave.spool.segmenter import Options
from streamwave.storage.store import Store, open_store
from streamwave.timing import round_half_up

#: A file is cut into about this many chunks or more: enough to keep several machines busy, and no more than needed,
#: because each chunk costs the start of an FFmpeg process and eight task runs (docs/decisions/0004-chunk-length.md).
FEW_CHUNKS = 10
#: Chunks are not made longer than this many segments for that reason, so that a lost one costs little.
LONG_CHUNK_SEGMENTS = 5
#: Task runs of one file that Prefect can still draw as one graph: beyond that, chunks grow with the file.
MAX_CHUNKS = 600


@dataclass(frozen=True)
class FileSession:
    """A file that is being read into its spool. ``first_chunk`` is where a resumed run goes on."""

    job: Job
    follower: Follower
    source: SourceInfo
    first_chunk: int

    def published_ms(self) -> int:
        """How much is published, in milliseconds of media."""
        return round_half_up(publication(self.job).timeline.duration * 1000)

    def check_complete(self) -> None:
        """Verify that the source was read to its end.

        Raises:
            SourceError: it broke off; the message says where and why.
        """
        ended = self.follower.ended
        if ended is not None and ended.error is not None:
            raise SourceError(f"{ended.error}; it was readable for {self.published_ms() / 1000:.1f} s")


def chunk_ms(segment_ms: int, duration_ms: int | None) -> int:
    """Least chunk length for a file of ``duration_ms``, in milliseconds: a whole number of segments."""
    if duration_ms is None:
        return segment_ms
    segments = duration_ms // (segment_ms * FEW_CHUNKS)
    least = -(-duration_ms // (segment_ms * MAX_CHUNKS))
    return segment_ms * max(1, min(segments, LONG_CHUNK_SEGMENTS), least)


@contextmanager
def file_session(
    source: str, settings: Settings, *, output: str, ladder: str | None, overwrite: bool, confine: bool = False
) -> Iterator[FileSession]:
    """Prepare everything for transcoding ``source`` to ``output``; afterwards no process and no work file is left.

    When the body raises, what this run published is removed too. ``confine`` allows only files under the roots that
    the settings name.

    Raises:
        StreamWaveError: the source, the output, the ladder or a setting can't be used; nothing was written.
    """
    url = resolve_source(source, settings.allowed_file_roots if confine else None)
    binary = locate(str(settings.ffmpeg_path) if settings.ffmpeg_path else None)
    chosen = ladders.choose(settings.ladder, ladder)
    info = probe(url)
    renditions = ladders.plan(info, chosen)
    store = open_store(output)
    if overwrite:
        _remove_broadcast(store)
    store.check()
    work_root = _temporary_folder(settings)
    spool, work = work_root / "spool", work_root / "work"
    segment_ms = target_ms(settings.segment_seconds)
    print_of_job = fingerprint(
        url, _file_identity(url), segment_ms, [r.model_dump_json() for r in renditions],
        settings.preset, settings.crf, settings.encoder_threads,
    )  # fmt: skip
    segmenter = None
    job: Job | None = None
    try:
        segmenter = start_segmenter(
            Options(
                source=url,
                spool=spool,
                segment_ms=chunk_ms(segment_ms, info.duration_ms),
                audio_bps=chosen.audio_kbps * 1000,
                max_ahead=settings.max_chunks_in_flight + 8,
            )
        )
        process = segmenter
        follower = Follower(spool, alive=lambda: process.poll() is None)
        opened = follower.wait_open(timeout_s=120)
        job = Job(
            session="file",
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
            encoder_threads=settings.encoder_threads,
            colour=opened.source.video.colour if opened.source.video else Colour(),
            ffmpeg_slots=settings.ffmpeg_slot_count,
            ffmpeg_timeout_s=settings.ffmpeg_timeout_s,
        )
        published = publication(job)
        published.begin(
            BroadcastLine(created_unix_ms=time.time_ns() // 1_000_000, segment_ms=segment_ms, fingerprint=print_of_job)
        )
        first = published.next_chunk(job.session) or 0
        try:
            yield FileSession(job, follower, info, first)
        except BaseException:
            with suppress(StreamWaveError):
                published.discard()
            raise
    finally:
        if segmenter is not None:
            stop_segmenter(segmenter, graceful=False)
        if job is not None:
            release(job)
        shutil.rmtree(work_root, ignore_errors=True)
        store.prune()


def _temporary_folder(settings: Settings) -> Path:
    try:
        settings.spool_dir.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="file-", dir=settings.spool_dir))
    except OSError as error:
        raise OutputError(
            f"the spool {settings.spool_dir} cannot be written ({error.strerror}); set STREAMWAVE_SPOOL_DIR to another folder"
        ) from None


def _file_identity(url: str) -> str:
    if not url.startswith("file:"):
        return ""
    stat = Path(url.removeprefix("file:")).stat()
    return f"{stat.st_size} {stat.st_mtime_ns}"


def _remove_broadcast(store: Store) -> None:
    """Remove a broadcast by its ledger, and nothing else that may lie beside it."""
    for name in store.names():
        if name.startswith("ledger/") or name.endswith((".m4s", "/init.mp4", ".m3u8", ".mpd")):
            store.delete(name)
    store.prune()
