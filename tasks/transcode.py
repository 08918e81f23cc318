"""transcode: transcode one chunk into one rendition; mapped over all renditions."""

from __future__ import annotations

from typing import Any

from prefect import task
from prefect.runtime import task_run

from streamwave.model import Chunk, Rendition
from streamwave.pipeline import chunk as pipeline
from streamwave.pipeline.job import Job


def worth_a_retry(_task: Any, _run: Any, state: Any) -> bool:
    """Whether a retry can help."""
    return pipeline.worth_another_try(state.result(raise_on_failure=False))


@task(
    task_run_name="transcode {chunk.number:06d} {rendition.name}",
    retries=2,  # overridden by the setting, see flows.pipeline
    retry_delay_seconds=pipeline.RETRY_DELAY_S,
    retry_condition_fn=worth_a_retry,
)
def transcode(job: Job, chunk: Chunk, rendition: Rendition) -> None:
    """Transcode ``chunk`` into ``rendition``; the result is written to ``Transcoder.result_path``."""
    pipeline.transcode(job, chunk, rendition, task_run.run_count or 1)
