"""package: check the renditions of a chunk against each other and make segments of them."""

from __future__ import annotations

from prefect import task

from streamwave.model import Chunk
from streamwave.pipeline import chunk as pipeline
from streamwave.pipeline.job import Job


@task(task_run_name="package {chunk.number:06d}")
def package(job: Job, chunk: Chunk) -> int:
    """Package ``chunk``; its description lies where ``Job.packaged_path`` says. The size of its segments in bytes."""
    return pipeline.package(job, chunk).size_bytes
