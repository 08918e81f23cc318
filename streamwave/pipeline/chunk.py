"""One chunk's way through the pipeline as plain calls: place, transcode, package, store.

The tasks of the flows are one call each. Without Prefect, ``publish_chunk`` does all of it in the calling thread, and
``threads.ChunkThreads`` for several chunks at once.
"""

from __future__ import annotations

import functools
import itertools
import logging
import time

from streamwave.errors import FFmpegError, MediaError, StreamWaveError, TooCostlyError
from streamwave.ffmpeg.process import launcher
from streamwave.ffmpeg.transcode import wrap_audio
from streamwave.manifest.packaged import PackagedChunk
from streamwave.model import Chunk, ChunkRecord, Rendition
from streamwave.pipeline.filler import put_filler
from streamwave.pipeline.job import Job, place
from streamwave.pipeline.package import package as package_results
from streamwave.pipeline.worker import worker

__all__ = [
    "RETRY_DELAY_S", "make", "package", "place", "publish_chunk", "store", "transcode", "transcode_all",
    "worth_another_try",
]  # fmt: skip

#: How long a transcode that failed waits before it is tried again.
RETRY_DELAY_S = 0.2

log = logging.getLogger("streamwave.transcode")


def worth_another_try(error: BaseException) -> bool:
    """Whether trying again can help: not when the run is ending, nor for a fault of our own code."""
    return not launcher().closed and isinstance(error, StreamWaveError | OSError)


def transcode(job: Job, chunk: Chunk, rendition: Rendition, tries: int = 1) -> None:
    """Transcode ``chunk`` into ``rendition``; the result lies where ``Transcoder.result_path`` says.

    The first try of a video rendition shares one decode with those of the chunk's others that other threads ask for; later
    ones run alone. The try after ``job.retries`` puts black pictures, or silence, in the chunk's place if it fails too.

    Raises:
        FFmpegError, MediaError: it failed, and may be tried again.
        OSError: there is no space left for the result.
    """
    transcoder = job.transcoder()
    try:
        if rendition.kind == "audio":
            wrap_audio(transcoder, chunk, rendition)
        else:
            worker.shared_decode.encode(transcoder, chunk, rendition, len(job.video_renditions), alone=tries > 1)
    except (FFmpegError, MediaError) as error:
        _replace(job, chunk, rendition, error, tries)


def transcode_all(job: Job, chunk: Chunk) -> None:
    """Transcode ``chunk`` into all renditions of ``job`` in this thread: all pictures in one process, and retries alone.

    Raises:
        StreamWaveError, OSError: what ``transcode`` raised in the last of its tries.
    """
    failure: Exception | None = None
    try:
        job.transcoder().encode(chunk, job.video_renditions)
    except (StreamWaveError, OSError) as error:
        failure = error
    for rendition in job.renditions:
        if rendition.kind == "audio" or failure is not None:
            _until_it_works(job, chunk, rendition, failure if rendition.kind == "video" else None)


def _until_it_works(job: Job, chunk: Chunk, rendition: Rendition, failure: Exception | None) -> None:
    """Try as often as a task run is tried; ``failure`` is what the first try, which several shared, has come to."""
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
    """Put filler in the place of what failed in all its tries; raise ``error`` if there are more to come."""
    transcoder = job.transcoder()
    if (tries <= job.retries and not isinstance(error, TooCostlyError)) or transcoder.launcher.closed:
        raise error
    # A bad chunk costs at most that chunk: the stream goes on over it.
    log.error("chunk %d %s is replaced by a stand-in: %s", chunk.number, rendition.name, error)
    put_filler(transcoder, chunk, rendition)


def package(job: Job, chunk: Chunk) -> PackagedChunk:
    """Check the renditions of ``chunk`` against each other and make segments of them; its description is stored in
    ``Job.packaged_path``.

    Raises:
        MediaError: not even filler can be used.
    """
    transcoder = job.transcoder()
    results = {r.name: transcoder.result_path(chunk, r.name) for r in job.renditions}
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

    Its files in the spool and on their way go once no output needs them any more. Chunks must come in order.

    Raises:
        OutputError: no output has taken it for as long as ``Job.patience_s`` says.
    """
    packaged = PackagedChunk.model_validate_json(job.packaged_path(number).read_text(encoding="utf-8"))
    worker.publication(job).publish(
        packaged, job.session, job.period, job.wall_unix_ms, done=functools.partial(job.forget, number)
    )


def make(job: Job, chunk: Chunk) -> PackagedChunk:
    """Transcode ``chunk`` into all renditions and package it."""
    transcode_all(job, chunk)
    return package(job, chunk)


def publish_chunk(job: Job, record: ChunkRecord) -> None:
    """All that becomes of a received chunk, in this thread. Chunks must come in order."""
    make(job, place(job, record))
    store(job, record.number)
