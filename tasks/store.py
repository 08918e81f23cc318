"""store: write a packaged chunk to its output, then the playlists and the manifest that name it, then the ledger."""

from __future__ import annotations

from prefect import task

from streamwave.pipeline import chunk as pipeline
from streamwave.pipeline.job import Job


@task(task_run_name="store {number:06d}")
def store(job: Job, number: int) -> None:
    """Publish chunk ``number``; its files in the spool and on their way go once no output needs them any more.

    Not retried by Prefect: the publication itself waits for outputs that refuse, as long as ``Job.patience_s`` says.
    """
    pipeline.store(job, number)
