"""Stops the segmenters of a broadcast, and ends the journals of sessions whose segmenter was killed."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from services.processing.watch import Watch
from streamwave.spool.broadcast import BroadcastSpool
from streamwave.spool.ending import end_journal
from streamwave.spool.follow import START_S
from streamwave.spool.journal import end_of, was_opened, writer_alive
from streamwave.spool.stop import request_stop, stop_and_wait

log = logging.getLogger("streamwave.processing")

#: How long a session may have no segmenter before it counts as cut off; ``START_S`` if it never had one.
WITHOUT_WRITER_S = 10.0


def stop_sessions(spool: BroadcastSpool, *, wait: bool = False) -> list[str]:
    """Stop the segmenters of all sessions, even if their publishers still send; the names of sessions that had one.

    ``wait``: return only once the segmenters have exited.
    """
    stopped = []
    for session in spool.sessions():
        if request_stop(session, at_once=True):
            stopped.append(session.name)
            if wait:
                stop_and_wait(session)
    return stopped


def end_cut_off_sessions(spool: BroadcastSpool, watch: Watch) -> None:
    """Append an end record to journals whose segmenter was killed, and update ``watch.receiving``.

    Without the record, the flow run would wait for ever: the reconnect window starts only with it, and the next session
    is published only after it.
    """
    sessions = spool.sessions()
    for session in sessions:
        if session.name not in watch.ended_sessions:
            _end_cut_off(spool, session, watch)
    watch.receiving = not sessions or sessions[-1].name not in watch.ended_sessions


def _end_cut_off(spool: BroadcastSpool, session: Path, watch: Watch) -> None:
    if writer_alive(session):
        watch.without_writer_since.pop(session.name, None)
        return
    if end_of(session) is not None:
        watch.ended_sessions.add(session.name)
        return
    now = time.monotonic()
    since = watch.without_writer_since.setdefault(session.name, now)
    if now - since < (WITHOUT_WRITER_S if was_opened(session) else START_S):
        return
    if end_journal(session, "segmenter died", "the segmenter died; what it had received is published"):
        log.warning("%s/%s: the segmenter of session %s died", spool.stream, spool.broadcast, session.name)
