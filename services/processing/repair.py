"""Sessions of a broadcast from outside: stop their segmenters, and end those whose segmenter died without a word."""

from __future__ import annotations

import logging
import time

from services.processing.watch import Watch
from streamwave.spool.broadcast import BroadcastSpool
from streamwave.spool.ending import end_journal
from streamwave.spool.follow import START_S
from streamwave.spool.journal import end_of, was_opened, writer_alive
from streamwave.spool.launch import request_stop, stop_and_wait

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

    Without it the broadcast would be waited for without end.
    """
    sessions = spool.sessions()
    if not sessions or sessions[-1].name == watch.ended_session or writer_alive(sessions[-1]):
        watch.dead_writer_since = None
        return
    now = time.monotonic()
    if watch.dead_writer_since is None:
        watch.dead_writer_since = now
    if now - watch.dead_writer_since < (WITHOUT_WRITER_S if was_opened(sessions[-1]) else START_S):
        return
    if end_of(sessions[-1]) is not None:
        watch.ended_session = sessions[-1].name
    elif end_journal(sessions[-1], "segmenter died", "the segmenter died; what it had received is published"):
        log.warning("%s/%s: the segmenter of session %s died", spool.stream, spool.broadcast, sessions[-1].name)
