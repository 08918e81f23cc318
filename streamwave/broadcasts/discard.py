"""Give up what was received and could be published nowhere: only the spool knows of it, and its runs come to nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

from streamwave.errors import UsageError
from streamwave.spool.broadcast import BroadcastSpool, broadcasts
from streamwave.spool.journal import writer_alive


def unpublished(spool_dir: Path, name: str) -> BroadcastSpool | None:
    """The broadcast in the spool that ``name`` (stream/broadcast, or the latter) means and that is not over; None if none.

    Raises:
        UsageError: it is being received.
    """
    for spool in broadcasts(spool_dir):
        if name.strip("/") in (f"{spool.stream}/{spool.broadcast}", spool.broadcast) and not spool.finished:
            if any(writer_alive(session) for session in spool.sessions()):
                raise UsageError(f"{spool.stream}/{spool.broadcast} is live: end it first; nothing was deleted")
            return spool
    return None


def give_up(spool: BroadcastSpool) -> None:
    """Have no run publish it any more, and delete what was received of it.

    A run that waits for an output at this moment ends when its patience does; what it uses goes with the next cleaning.
    """
    spool.close()
    spool.mark_finished()
    if not spool.run_alive():
        for session in spool.sessions():
            shutil.rmtree(session, ignore_errors=True)
