"""store: write a packaged chunk to its output, then the playlists and the manifest that name it, then the ledger."""

from __future__ import annotations

import functools

from prefect import task

from streamwave.manifest.packaged import PackagedChunk
from streamwave.pipeline.job import Job
from streamwave.pipeline.worker import worker


@task(task_run_name="store {number:06d}")
def store(job: Job, number: int) -> None:
    """Publish chunk ``number``; its files in the spool and on their way go once no output needs them any more.

    Not retried by Prefect: the publication itself waits for outputs that refuse, as long as ``Job.patience_s`` says.
    """
    packaged = PackagedChunk.model_validate_json(job.packaged_path(number).read_text(encoding="utf-8"))
    worker.publication(job).publish(
        packaged, job.session, job.period, job.wall_unix_ms, done=functools.partial(job.forget, number)
    )
