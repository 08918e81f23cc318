"""store: write a packaged chunk to its output, then the playlists and the manifest that name it, then the ledger."""

from __future__ import annotations

import functools
from typing import Any

from prefect import task

from streamwave.errors import FencedError, OutputError
from streamwave.ffmpeg.process import launcher
from streamwave.job import Job, publication
from streamwave.package import PackagedChunk


def worth_a_retry(_task: Any, _run: Any, state: Any) -> bool:
    """Whether trying again can help: not when the run is ending, nor where another one has taken over."""
    error = state.result(raise_on_failure=False)
    return not launcher().closed and isinstance(error, OutputError) and not isinstance(error, FencedError)


@task(task_run_name="store {number:06d}", retry_condition_fn=worth_a_retry)
def store(job: Job, number: int) -> None:
    """Publish chunk ``number``; its files in the spool and on their way go once no output needs them any more."""
    packaged = PackagedChunk.model_validate_json(job.packaged_path(number).read_text(encoding="utf-8"))
    publication(job).publish(
        packaged, job.session, job.period, job.wall_unix_ms, done=functools.partial(job.forget, number)
    )


#: For a live stream, which cannot be run again by the person who sees the error: the output may come back.
patient_store = store.with_options(retries=4, retry_delay_seconds=[1, 2, 4, 8])
