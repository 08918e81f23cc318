"""Publish the sessions of a live broadcast without Prefect."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from streamwave.config.settings import Settings
from streamwave.model import ChunkRecord
from streamwave.pipeline.chunk import publish_chunk
from streamwave.pipeline.job import Job
from streamwave.pipeline.live import LiveBroadcast
from tests.support.cli import LADDER


def settings(tmp_path: Path, **changes: object) -> Settings:
    values = {"state_dir": tmp_path, "segment_seconds": 1, "ladder": json.dumps(LADDER), "preset": "ultrafast"}
    return Settings.load(env_file=None, **{**values, **changes})


def publish(broadcast: LiveBroadcast, chunks: Iterator[tuple[Job, ChunkRecord]], count: int | None = None) -> int:
    """Process ``count`` chunks, or all, as the tasks do. Returns their number."""
    done = 0
    while done != count and (item := next(chunks, None)) is not None:
        job, record = item
        publish_chunk(job, record)
        broadcast.stored()
        done += 1
    return done
