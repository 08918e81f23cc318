"""Sessions of a broadcast from outside: stop their segmenters, and end those whose segmenter died without a word."""

from __future__ import annotations

import contextlib
import logging
import time
from pathlib import Path

from services.processing.watch import Watch
from streamwave.errors import SpoolError
from streamwave.spool.broadcast import BroadcastSpool
from streamwave.spool.journal import JOURNAL, EndRecord, JournalReader, JournalWriter, writer_alive
from streamwave.spool.launch import request_stop, stop_and_wait

log = logging.getLogger("streamwave.processing")

#: How long a session may be without a segmenter: one that is just being started, or restarted, takes its lock sooner.
WITHOUT_WRITER_S = 10.0


def give_up_sessions(spool: BroadcastSpool, *, wait: bool = False) -> list[str]:
    """End the segmenters of all sessions now, whatever is still arriving; the sessions that had one.

    ``wait`` until they are gone.
    """
    stopped = []
    for session in spool.sessions():
        if request_stop(session, at_once=True):
            stopped.append(session.name)
            if wait:
                stop_and_wait(session)
    return stopped


def end_cut_off_sessions(spool: BroadcastSpool, watch: Watch) -> None:
    """Give the journal of a session whose segmenter was killed its end, so that the reconnect window can begin.

    Without it the broadcast would be waited for without end.
    """
    sessions = spool.sessions()
    if not sessions or sessions[-1].name == watch.ended_session or writer_alive(sessions[-1]):
        watch.dead_writer_since = None
        return
    now = time.monotonic()
    if watch.dead_writer_since is None:
        watch.dead_writer_since = now
    if now - watch.dead_writer_since < WITHOUT_WRITER_S:
        return
    with contextlib.suppress(SpoolError):  # a segmenter came back, or the journal is damaged: the run says so
        if any(isinstance(line, EndRecord) for line in JournalReader(sessions[-1]).read()):
            watch.ended_session = sessions[-1].name
            return
        writer = JournalWriter(sessions[-1], stoppable=False)
        try:
            _cut_torn_line(sessions[-1] / JOURNAL)
            writer.append(
                EndRecord(
                    reason="segmenter died",
                    error="the segmenter died; what it had received is published",
                    ended_unix_ms=time.time_ns() // 1_000_000,
                )
            )
        finally:
            writer.close()
        log.warning("%s/%s: the segmenter of session %s died", spool.stream, spool.broadcast, sessions[-1].name)


def _cut_torn_line(journal: Path) -> None:
    """Take away a last line that was cut off by the crash: what is appended must begin a line of its own."""
    with journal.open("r+b") as file:
        data = file.read()
        file.truncate(data.rfind(b"\n") + 1)
