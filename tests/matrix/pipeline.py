"""A source's way through the library, as the flow for files takes it, without Prefect: a chunk at a time, all in here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from streamwave.config.settings import Settings
from streamwave.model import SourceInfo
from streamwave.pipeline.chunk import publish_chunk
from streamwave.pipeline.vod import file_session
from streamwave.pipeline.worker import worker
from streamwave.receive.quick_probe import look


@dataclass(frozen=True)
class Made:
    """What was published, and what was told of it. ``filled`` counts chunks that are shown in black, ``damaged`` those
    that are said to hold pictures that could not be decoded, ``advice`` are codes of what its publisher could mend.
    """

    root: Path
    source: SourceInfo
    filled: int
    damaged: int = 0
    advice: frozenset[str] = frozenset()


def transcode(
    source: Path,
    folder: Path,
    *,
    ladder: str | None,
    segment_s: int,
    audio_track: int | None = None,
    passthrough: bool = False,
) -> Made:
    """Make a stream of ``source`` below ``folder``.

    Raises:
        StreamWaveError: what a person would be told.
    """
    settings = Settings.load(
        env_file=None,
        state_dir=folder / "state",
        ladder=ladder,
        segment_seconds=segment_s,
        ffmpeg_timeout_s=60,
        chunk_retries=0,  # the same would come out every time
        passthrough="auto" if passthrough else "never",
    )
    root = folder / "out"
    with file_session(
        str(source), settings, output=str(root), ladder=None, overwrite=False, audio_track=audio_track
    ) as session:
        for job, record in session.chunks():
            publish_chunk(job, record)
        session.check_complete()
        published = worker.publication(session.job)
        published.finish()
        ledger, probed = published.ledger, look(f"file:{source}", session.job.renditions)
        codes = frozenset(found.code for found in (*session.advice, *probed))
        return Made(root, session.source, ledger.losses.black_chunks, ledger.losses.damaged_chunks, codes)
