"""transcode: one chunk into one rendition, mapped over all renditions."""

from __future__ import annotations

import logging
from typing import Any

from prefect import task
from prefect.runtime import task_run

from streamwave.errors import FFmpegError, MediaError, StreamWaveError, TooCostlyError
from streamwave.ffmpeg.process import launcher
from streamwave.ffmpeg.transcode import wrap_audio
from streamwave.model import Chunk, Rendition
from streamwave.pipeline.filler import put_filler
from streamwave.pipeline.job import Job
from streamwave.pipeline.worker import worker

log = logging.getLogger("streamwave.transcode")


def worth_a_retry(_task: Any, _run: Any, state: Any) -> bool:
    """Whether trying again can help: not when the run is ending, nor for a fault of our own code."""
    if launcher().closed:
        return False
    error = state.result(raise_on_failure=False)
    return isinstance(error, StreamWaveError | OSError)


@task(
    task_run_name="transcode {chunk.number:06d} {rendition.name}",
    retries=2,  # the pipeline puts the setting in its place
    retry_delay_seconds=0.2,
    retry_condition_fn=worth_a_retry,
)
def transcode(job: Job, chunk: Chunk, rendition: Rendition) -> None:
    """Transcode ``chunk`` into ``rendition``; the result lies where ``Transcoder.result_path`` says."""
    transcoder = job.transcoder()
    tries = task_run.run_count or 1
    try:
        if rendition.kind == "audio":
            wrap_audio(transcoder, chunk, rendition)
        else:
            worker.shared_decode.encode(transcoder, chunk, rendition, len(job.video_renditions), alone=tries > 1)
    except (FFmpegError, MediaError) as error:
        if (tries <= job.retries and not isinstance(error, TooCostlyError)) or transcoder.launcher.closed:
            raise
        # A bad chunk costs at most that chunk: the stream goes on over it.
        log.error("chunk %d %s is replaced by a stand-in: %s", chunk.number, rendition.name, error)
        put_filler(transcoder, chunk, rendition)
