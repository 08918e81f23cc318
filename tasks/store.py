"""store: write a packaged chunk to its output, then the playlists and the manifest that name it, then the ledger."""

from __future__ import annotations

from prefect import task

from streamwave.pipeline import chunk as pipeline
from streamwave.pipeline.job import Job


@task(task_run_name="store {number:06d}")
def store(job: Job, number: int) -> None:
    """Publish chunk ``number``; its spool files and work files are deleted once no output needs them.

    Not retried by Prefect: the publication itself retries outputs that refuse, for ``Job.patience_s``.
    """
    pipeline.store(job, number)
