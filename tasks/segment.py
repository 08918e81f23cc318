"""segment: give a received chunk its place on the frame grid."""

from __future__ import annotations

from prefect import task

from streamwave.job import Job, place
from streamwave.model import Chunk, ChunkRecord


@task(task_run_name="segment {record.number:06d}")
def segment(job: Job, record: ChunkRecord) -> Chunk:
    """The chunk that the journal's ``record`` describes, ready to be transcoded."""
    return place(job, record)
