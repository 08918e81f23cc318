"""package: check the renditions of a chunk against each other and make segments of them."""

from __future__ import annotations

from prefect import task

from streamwave.model import Chunk
from streamwave.pipeline.filler import put_filler
from streamwave.pipeline.job import Job
from streamwave.pipeline.package import package as package_chunk


@task(task_run_name="package {chunk.number:06d}")
def package(job: Job, chunk: Chunk) -> int:
    """Package ``chunk``; its description lies where ``Job.packaged_path`` says. The size of its segments in bytes."""
    transcoder = job.transcoder()
    results = {r.name: transcoder.result_path(chunk, r.name) for r in job.renditions}
    packaged = package_chunk(
        chunk,
        results,
        job.renditions,
        transcoder.work,
        put_filler=lambda rendition: put_filler(transcoder, chunk, rendition),
    )
    job.packaged_path(chunk.number).write_text(packaged.model_dump_json(), encoding="utf-8")
    return sum(segment.size for track in packaged.tracks for segment in track.segments)
