"""Runs a source through the library, as the flow for files does, but without Prefect: one chunk at a time in this process."""

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
    """What was published and reported. ``filled`` is the number of chunks replaced by black frames, ``damaged`` that of
    chunks reported to contain frames that could not be decoded; ``advice`` are the codes of the advice.
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
    """Transcode ``source`` into a folder below ``folder``.

    Raises:
        StreamWaveError: with the message that a user would get.
    """
    settings = Settings.load(
        env_file=None,
        state_dir=folder / "state",
        ladder=ladder,
        segment_seconds=segment_s,
        ffmpeg_timeout_s=60,
        chunk_retries=0,  # a retry would give the same result
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
