"""segment: give a received chunk its place on the frame grid."""

from __future__ import annotations

from fractions import Fraction

from prefect import task

from streamwave.model import Chunk, ChunkRecord
from streamwave.pipeline.chunk import place
from streamwave.pipeline.job import Job


@task(task_run_name="segment {record.number:06d}")
def segment(job: Job, record: ChunkRecord) -> Chunk:
    """The chunk that the journal's ``record`` describes, ready to be transcoded."""
    chunk = place(job, record)
    # Prefect draws arrows by the identity of objects: a rate shared with the job would make every task that takes the
    # job seem to depend on this one.
    return chunk.model_copy(update={"rate": Fraction(job.rate)})
