"""transcode: transcode one chunk into one rendition; mapped over all renditions."""

from __future__ import annotations

from typing import Any

from prefect import State, task
from prefect.runtime import task_run
from prefect.states import Completed

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
def transcode(job: Job, chunk: Chunk, rendition: Rendition) -> State[None] | None:
    """Transcode ``chunk`` into ``rendition``; the result is written to ``Transcoder.result_path``.

    If another machine did so, the message of the run's state says which, and how fast.
    """
    where = pipeline.transcode(job, chunk, rendition, task_run.run_count or 1)
    return None if where is None else Completed(message=where)
