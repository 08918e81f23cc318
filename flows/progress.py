"""Reports the progress of a file's run: to the caller of the flow in this process, and as artifacts in Prefect's UI."""

from __future__ import annotations

import logging
import time
from uuid import UUID

from prefect.artifacts import create_link_artifact, create_progress_artifact, update_progress_artifact

from flows.caller import caller
from streamwave.layout import MANIFEST, MASTER
from streamwave.pipeline.vod import FileSession
from streamwave.storage.outputs import outputs

#: Minimum interval between updates of the artifact, because each is a request to Prefect's server.
ARTIFACT_INTERVAL_S = 2.0

log = logging.getLogger("streamwave.progress")


class Progress:
    """Reports how much of a file is published. Without Prefect's server the report is lost, but the run continues."""

    def __init__(self, session: FileSession) -> None:
        self._session = session
        self._caller = caller()
        self._chunks = 0
        self._artifact: UUID | None = None
        self._told_at = time.monotonic()

    def update(self) -> None:
        """Count one more stored chunk, and report."""
        self._chunks += 1
        published_ms, expected_ms = self._session.published_ms(), self._session.source.duration_ms
        self._caller.on_progress(published_ms, expected_ms, self._chunks)
        if expected_ms and time.monotonic() - self._told_at >= ARTIFACT_INTERVAL_S:
            self._tell(min(99.0, 100 * published_ms / expected_ms))

    def finish(self, output: str) -> None:
        """Report the end, and create a link artifact for the result."""
        self._caller.on_progress(self._session.published_ms(), self._session.published_ms(), self._chunks)
        for note in self._session.notes():
            self._caller.on_note(note)
        self._tell(100.0)
        root = outputs(output)[0].url.rstrip("/")
        try:
            create_link_artifact(
                link=f"{root}/{MANIFEST}",
                link_text=f"{root}/{MANIFEST}",
                description=f"DASH manifest; the HLS playlist in the same folder is {MASTER}",
            )
        except Exception as error:
            log.warning("the link artifact was not stored: %s", error)

    def _tell(self, percent: float) -> None:
        self._told_at = time.monotonic()
        try:
            if self._artifact is None:
                made = create_progress_artifact(progress=percent, description="published, in percent of the source")
                self._artifact = made if isinstance(made, UUID) else None
            else:
                update_progress_artifact(self._artifact, progress=percent)
        except Exception as error:
            log.warning("the progress artifact was not stored: %s", error)
