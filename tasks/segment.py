"""segment: place a received chunk on the frame grid."""

from __future__ import annotations

from fractions import Fraction

from prefect import task

from streamwave.model import Chunk, ChunkRecord
from streamwave.pipeline.chunk import place
from streamwave.pipeline.job import Job


@task(task_run_name="segment {record.number:06d}")
def segment(job: Job, record: ChunkRecord) -> Chunk:
    """The chunk described by the journal's ``record``, ready to be transcoded."""
    chunk = place(job, record)
    # Prefect infers dependencies from the identity of objects: with a rate object shared with the job, every task that gets
    # the job would seem to depend on this task.
    return chunk.model_copy(update={"rate": Fraction(job.rate)})
