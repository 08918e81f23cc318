"""A file's way through the pipeline without any orchestration: prepare a job, and clean up whatever way it ends."""

from __future__ import annotations

import errno
import fcntl
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO

from streamwave import ladder as ladders
from streamwave.errors import OutputError, SourceError, StreamWaveError
from streamwave.ffmpeg.locate import locate
from streamwave.ffmpeg.probe import check_decodable, probe
from streamwave.job import Job, fingerprint, publication, release, target_ms
from streamwave.layout import is_broadcast_object, ledger_name
from streamwave.manifest.ledger import BroadcastLine
from streamwave.model import SourceInfo
from streamwave.settings import Settings
from streamwave.source import resolve_source
from streamwave.spool.audio import SAMPLE_RATE
from streamwave.spool.follow import Follower
from streamwave.spool.launch import start_segmenter, stop_segmenter
from streamwave.spool.segmenter import SPOOL_FAILED, Options
from streamwave.storage.store import Store
from streamwave.storage.target import check_outputs, outputs
from streamwave.timing import round_half_up

#: A file is cut into about this many chunks or more: enough to keep several machines busy, and no more than needed,
#: because each chunk costs the start of an FFmpeg process and eight task runs (docs/decisions/0004-chunk-length.md).
FEW_CHUNKS = 10
#: Chunks are not made longer than this many segments for that reason, so that a lost one costs little.
LONG_CHUNK_SEGMENTS = 5
#: Task runs of one file that Prefect can still draw as one graph: beyond that, chunks grow with the file.
MAX_CHUNKS = 600
#: Chunks that a message names by their number.
NAMED = 10
#: File in a run's folder that the run holds locked; the lock of one that was killed is gone.
OWNER = "owner"


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
            if ended.reason == SPOOL_FAILED:
                raise OutputError(f"{ended.error}; free some space or set STREAMWAVE_SPOOL_DIR to another folder")
            raise SourceError(f"{ended.error}; it was readable for {self.published_ms() / 1000:.1f} s")

    def stand_ins(self) -> str | None:
        """A sentence on the chunks in whose place black pictures or silence were published; None if there are none."""
        ledger = publication(self.job).ledger
        if not ledger.filled_numbers:
            return None
        what = [
            f"{count} of {ledger.next_chunk} chunks {how}"
            for count, how in ((ledger.black_chunks, "are shown in black"), (ledger.silent_chunks, "are silent"))
            if count
        ]
        numbers = ", ".join(str(number) for number in ledger.filled_numbers[:NAMED])
        more = ", …" if len(ledger.filled_numbers) > NAMED else ""
        return (
            f"{' and '.join(what)} because they could not be decoded (numbers {numbers}{more}); "
            "everything else is there; mend the source and run the command again with --overwrite"
        )


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
    check_decodable(info, binary)
    renditions = ladders.plan(info, chosen)
    check_outputs(output, settings.s3_options)
    stores = [target.open(settings.s3_options) for target in outputs(output)]
    work_root, owner = _temporary_folder(settings)
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
                audio_track=settings.audio_track - 1,
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
            video=opened.source.video,
            store_options=settings.store_options(output),
            base_urls=settings.base_urls,
            ffmpeg_slots=settings.ffmpeg_slot_count,
            ffmpeg_timeout_s=settings.ffmpeg_timeout_s,
            retries=settings.chunk_retries,
        )
        for store in stores:
            if overwrite:
                _remove_broadcast(store)
            store.tidy()
        published = publication(job)
        try:
            published.begin(
                BroadcastLine(
                    created_unix_ms=time.time_ns() // 1_000_000, segment_ms=segment_ms, fingerprint=print_of_job
                )
            )
            yield FileSession(job, follower, info, published.next_chunk(job.session) or 0)
        except BaseException:
            with suppress(StreamWaveError):
                published.discard()
            raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(
                f"no space left for work files in {settings.spool_dir}; "
                "free some or set STREAMWAVE_SPOOL_DIR to a folder on another disk"
            ) from error
        raise
    finally:
        if segmenter is not None:
            stop_segmenter(segmenter, graceful=False)
        if job is not None:
            release(job)
        shutil.rmtree(work_root, ignore_errors=True)
        owner.close()
        for store in stores:
            store.prune()


def _temporary_folder(settings: Settings) -> tuple[Path, IO[bytes]]:
    """A new folder for one run, and the file in it that is locked for as long as the run lives."""
    try:
        settings.spool_dir.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(settings.spool_dir)
        folder = Path(tempfile.mkdtemp(prefix="file-", dir=settings.spool_dir))
        # Locked before it gets its name: whoever finds it under that can rely on it.
        owner = (folder / f".{OWNER}").open("wb")
        fcntl.flock(owner, fcntl.LOCK_EX)
        (folder / f".{OWNER}").replace(folder / OWNER)
        return folder, owner
    except OSError as error:
        raise OutputError(
            f"the spool {settings.spool_dir} cannot be written ({error.strerror}); set STREAMWAVE_SPOOL_DIR to another folder"
        ) from None


def _remove_abandoned(spool_dir: Path) -> None:
    """Remove the folders of runs that were killed and could not do it themselves."""
    for path in spool_dir.glob(f"file-*/{OWNER}"):
        with suppress(OSError), path.open("rb") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path.parent, ignore_errors=True)


def _file_identity(url: str) -> str:
    if not url.startswith("file:"):
        return ""
    stat = Path(url.removeprefix("file:")).stat()
    return f"{stat.st_size} {stat.st_mtime_ns}"


def _remove_broadcast(store: Store) -> None:
    """Remove a broadcast of ours, if there is one, and nothing else that may lie beside it."""
    if store.get(ledger_name(0)) is None:
        return
    names = [name for name in store.names() if is_broadcast_object(name)]
    # What others are told first, then what they were told of.
    for name in sorted(names, key=lambda name: (not name.endswith((".mpd", ".m3u8")), not name.startswith("ledger/"))):
        store.delete(name)
    store.prune()
