"""Pulls a source that a caller of StartStream names: opens a session and starts its segmenter."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

from services.processing.faults import BadField, NotReady
from streamwave.config.settings import Settings
from streamwave.errors import SourceError, SpoolError
from streamwave.pipeline.ladder import load_ladder
from streamwave.receive.launch import start_segmenter
from streamwave.sources.address import resolve_source
from streamwave.sources.hosts import check_host
from streamwave.spool.broadcast import BroadcastSpool, StreamLiveError, broadcasts, open_session
from streamwave.spool.ending import end_journal
from streamwave.spool.journal import was_opened, writer_alive
from streamwave.spool.options import Options
from streamwave.spool.remote.objects import check_spool
from streamwave.storage.outputs import check_outputs
from streamwave.util.digest import fingerprint

#: File in a pulled session's folder: a digest of its source, because the source itself may contain a key.
MARK = "source.sha256"
#: This service's name as the owner of broadcasts in the spool.
OWNER = "processing"


class Sources:
    """Receives sources into the spool. Thread-safe; the segmenters survive this process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._segmenters: dict[Path, subprocess.Popen[bytes]] = {}

    def pull(self, stream: str, source: str, title: str) -> tuple[BroadcastSpool, str]:
        """Receive ``source`` as ``stream``; the broadcast and the number of the session.

        Idempotent: if ``source`` is already being received as ``stream``, this returns the existing session.

        Raises:
            BadField: the source is not allowed.
            NotReady: the stream is live from elsewhere, or the output cannot be written.
        """
        try:
            url = resolve_source(source, self._settings.allowed_file_roots)
            check_host(url, self._settings.source_hosts)
        except SourceError as error:
            raise BadField(str(error), "source") from None
        mark = fingerprint(url)
        with self._lock:
            self.reap()
            newest = broadcasts(self._settings.spool_dir, stream)[-1:]
            sessions = newest[0].sessions() if newest else []
            if sessions and not newest[0].finished and self._receiving(sessions[-1]):
                if _mark_of(newest[0], sessions[-1].name) == mark:
                    return newest[0], sessions[-1].name
                raise NotReady(f"{stream} is live from another source; stop that one first", "live")
            check_outputs(self._settings.output_url, self._settings.s3_options)
            check_spool(self._settings.spool_url, self._settings.spool_options)
            # A file that was read to its end does not reconnect.
            window_ms = 0 if url.startswith("file:") else self._settings.reconnect_window_s * 1000
            try:
                spool, session = open_session(
                    self._settings.spool_dir, stream,
                    output=self._settings.output_url, window_ms=window_ms, title=title, owner=OWNER,
                    remote=self._settings.spool_url or "",
                )  # fmt: skip
            except StreamLiveError as error:
                raise NotReady(str(error), "live") from None
            try:
                (session / MARK).write_text(mark, encoding="ascii")
                self._segmenters[session] = start_segmenter(self._options(url, session), survive=True)
            except OSError as error:
                end_journal(session, "not started", "the segmenter could not be started")
                raise SpoolError(f"{stream} cannot be received ({error.strerror}); see the spool {session}") from None
        return spool, session.name

    def reap(self) -> None:
        """Forget segmenters that have exited, and end the sessions of those that received nothing."""
        for session, process in list(self._segmenters.items()):
            if process.poll() is not None:
                del self._segmenters[session]
                if not was_opened(session):
                    end_journal(session, "not started", "the segmenter did not start; its log says why")

    def _receiving(self, session: Path) -> bool:
        # A segmenter that was just started has not taken its lock yet.
        return writer_alive(session) or session in self._segmenters

    def _options(self, url: str, session: Path) -> Options:
        settings, audio_kbps = self._settings, load_ladder(self._settings.ladder).audio_kbps
        return Options.from_settings(settings, url, session, audio_kbps=audio_kbps, source_hosts=settings.source_hosts)


def _mark_of(spool: BroadcastSpool, number: str) -> str:
    try:
        return (spool.folder / number / MARK).read_text(encoding="ascii")
    except OSError:
        return ""
