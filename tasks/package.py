"""package: check the renditions of a chunk and package them as segments."""

from __future__ import annotations

from prefect import task

from streamwave.model import Chunk
from streamwave.pipeline import chunk as pipeline
from streamwave.pipeline.job import Job


@task(task_run_name="package {chunk.number:06d}")
def package(job: Job, chunk: Chunk) -> int:
    """Package ``chunk`` (described by the file at ``Job.packaged_path``). Returns the size of its segments in bytes."""
    return pipeline.package(job, chunk).size_bytes
