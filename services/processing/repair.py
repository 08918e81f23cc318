"""Sessions of a broadcast from outside: stop their segmenters, and end those whose segmenter died without a word."""

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

#: How long a session may be without its segmenter. One that has never had any gets ``START_S``, like everywhere.
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

    Without it the broadcast would be waited for without end; also where the publisher has come back since, and a later
    session goes on. ``watch`` is told whether anything is, or may be, received.
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
