"""store: write a packaged chunk to its output, then the playlists and the manifest that name it, then the ledger."""

from __future__ import annotations

import shutil

from prefect import task

from streamwave.job import Job, publication
from streamwave.package import PackagedChunk


@task(task_run_name="store {number:06d}")
def store(job: Job, number: int) -> None:
    """Publish chunk ``number`` and clean up its work files."""
    path = job.packaged_path(number)
    publication(job).publish(PackagedChunk.model_validate_json(path.read_text(encoding="utf-8")))
    shutil.rmtree(path.parent, ignore_errors=True)
