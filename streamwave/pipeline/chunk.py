"""The stages of the pipeline for one chunk, as plain calls: place, transcode, package, store.

Each Prefect task makes one of these calls. Without Prefect, ``publish_chunk`` runs all stages in the calling thread, and
``threads.ChunkThreads`` runs them for several chunks concurrently.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import logging
import time
from collections.abc import Callable

from streamwave.errors import FFmpegError, MediaError, StreamWaveError, TooCostlyError
from streamwave.ffmpeg.process import launcher
from streamwave.ffmpeg.transcode import Transcoder, wrap_audio
from streamwave.manifest.packaged import PackagedChunk
from streamwave.model import Chunk, ChunkRecord, Rendition
from streamwave.pipeline import job as jobs
from streamwave.pipeline.filler import put_filler
from streamwave.pipeline.job import Job
from streamwave.pipeline.package import package as package_results
from streamwave.pipeline.worker import worker

__all__ = [
    "RETRY_DELAY_S", "make", "package", "place", "publish_chunk", "store", "transcode", "transcode_ahead",
    "transcode_all", "worth_another_try",
]  # fmt: skip

#: Delay before a failed transcode is retried.
RETRY_DELAY_S = 0.2

log = logging.getLogger("streamwave.transcode")


def place(job: Job, record: ChunkRecord) -> Chunk:
    """The received chunk ``record`` on the frame grid (``job.place``)."""
    worker.meter(job).accepted(record.number)
    return jobs.place(job, record)


def worth_another_try(error: BaseException) -> bool:
    """Whether a retry can help: not if the run is ending, nor for a bug in our own code."""
    return not launcher().closed and isinstance(error, StreamWaveError | OSError)


def _transcoder(job: Job) -> Transcoder:
    """The transcoder of ``job``, which encodes on other machines if it has a scheduler."""
    return dataclasses.replace(job.transcoder(), elsewhere=worker.cluster(job), meter=worker.meter(job))


def transcode(job: Job, chunk: Chunk, rendition: Rendition, tries: int = 1) -> str | None:
    """Transcode ``chunk`` into ``rendition``; the result is written to ``Transcoder.result_path``.

    The first attempt at a video rendition shares one decode with the chunk's other renditions that other threads request;
    retries run alone. If the last of ``job.retries`` retries fails too, the result is filler: black frames or silence.
    ``tries`` is the number of this attempt, from 1. Returns where it ran, if that was on another machine.

    Raises:
        FFmpegError, MediaError: the attempt failed, and a retry is left.
        OSError: there is no space left for the result.
    """
    transcoder = _transcoder(job)
    transcoder.meter.dispatched(chunk.number)
    try:
        if rendition.kind == "audio":
            wrap_audio(transcoder, chunk, rendition)
            return None
        return worker.shared_decode.encode(transcoder, chunk, rendition, len(job.video_renditions), alone=tries > 1)
    except (FFmpegError, MediaError) as error:
        _replace(job, chunk, rendition, error, tries)
        return None


def transcode_ahead(job: Job, chunk: Chunk) -> Callable[[], None]:
    """Announce the video of ``chunk`` before its tasks exist, and return the function that transcodes it, for any thread.

    ``transcode`` gets its outcome as that of the first attempt.
    """
    return worker.shared_decode.begin(_transcoder(job), chunk, job.video_renditions)


def transcode_all(job: Job, chunk: Chunk) -> None:
    """Transcode ``chunk`` into all renditions of ``job`` in this thread: all video in one FFmpeg process, retries one by one.

    Raises:
        StreamWaveError, OSError: the error of the last attempt.
    """
    failure: Exception | None = None
    worker.meter(job).dispatched(chunk.number)
    try:
        _transcoder(job).encode(chunk, job.video_renditions)
    except (StreamWaveError, OSError) as error:
        failure = error
    for rendition in job.renditions:
        if rendition.kind == "audio" or failure is not None:
            _until_it_works(job, chunk, rendition, failure if rendition.kind == "video" else None)


def _until_it_works(job: Job, chunk: Chunk, rendition: Rendition, failure: Exception | None) -> None:
    """Retry as often as a Prefect task would; ``failure`` is the error of the first attempt if that has been made already."""
    for tries in itertools.count(1):
        try:
            if failure is None or tries > 1:
                transcode(job, chunk, rendition, tries)
            elif isinstance(failure, FFmpegError | MediaError):
                _replace(job, chunk, rendition, failure, tries)
            else:
                raise failure
            return
        except (StreamWaveError, OSError) as error:
            if tries > job.retries or not worth_another_try(error):
                raise
        time.sleep(RETRY_DELAY_S)


def _replace(job: Job, chunk: Chunk, rendition: Rendition, error: FFmpegError | MediaError, tries: int) -> None:
    """Write filler if all attempts have failed; raise ``error`` if a retry is left."""
    transcoder = job.transcoder()
    if (tries <= job.retries and not isinstance(error, TooCostlyError)) or transcoder.launcher.closed:
        raise error
    # A bad chunk costs at most that chunk: the stream continues.
    log.error("chunk %d %s is replaced by filler: %s", chunk.number, rendition.name, error)
    put_filler(transcoder, chunk, rendition)


def package(job: Job, chunk: Chunk) -> PackagedChunk:
    """Check the renditions of ``chunk`` and package them as segments, described by the file at ``Job.packaged_path``.

    Raises:
        MediaError: even filler is unusable.
    """
    transcoder = job.transcoder()
    results = {r.name: transcoder.result_path(chunk, r.name) for r in job.renditions}
    with worker.meter(job).stage("package"):
        packaged = package_results(
            chunk,
            results,
            job.renditions,
            transcoder.work,
            put_filler=lambda rendition: put_filler(transcoder, chunk, rendition),
        )
    job.packaged_path(chunk.number).write_text(packaged.model_dump_json(), encoding="utf-8")
    return packaged


def store(job: Job, number: int) -> None:
    """Publish the packaged chunk ``number``: segments, then playlists and manifest, then the ledger.

    Its spool files and work files are deleted once no output needs them. Chunks must be stored in order.

    Raises:
        OutputError: no output could be written for ``Job.patience_s``.
    """
    packaged = PackagedChunk.model_validate_json(job.packaged_path(number).read_text(encoding="utf-8"))
    with worker.meter(job).stage("store"):
        worker.publication(job).publish(
            packaged, job.session, job.period, job.wall_unix_ms, done=functools.partial(job.forget, number)
        )


def make(job: Job, chunk: Chunk) -> PackagedChunk:
    """Transcode ``chunk`` into all renditions and package it."""
    transcode_all(job, chunk)
    return package(job, chunk)


def publish_chunk(job: Job, record: ChunkRecord) -> None:
    """Run all stages for a received chunk in this thread. Chunks must be published in order."""
    make(job, place(job, record))
    store(job, record.number)
