"""Delete what has left the DVR window of a channel that keeps nothing else, once no player can want it any more."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from fractions import Fraction

from streamwave.errors import OutputError
from streamwave.manifest.ledger import Ledger
from streamwave.manifest.names import is_named
from streamwave.manifest.timeline import Timeline
from streamwave.storage.store import Store

log = logging.getLogger("streamwave.retention")

#: Segment durations for which an object outlives the last manifest that named it: players hold older manifests.
GRACE_SEGMENTS = 3


class Expiry:
    """Deletes from ``store`` what a ledger says has left.

    ``clock`` counts seconds and never runs backwards; what the wall clock does is of no concern. After a restart
    everything that is still to be deleted waits anew, because nobody knows for how long it has waited.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self._left_at: dict[str, float] = {}

    def note(self, ledger: Ledger) -> None:
        """Call when the manifests of ``ledger`` have been written: what is left out of them begins to wait."""
        now = self._clock()
        for name in ledger.left:
            self._left_at.setdefault(name, now)

    def run(self, ledger: Ledger) -> int:
        """Call when ``ledger`` is saved: delete what is due; the number of objects that went.

        What cannot be deleted now is tried again the next time.
        """
        if not ledger.left or ledger.timeline is None:
            return 0
        latest = self._clock() - grace_s(ledger.timeline)
        gone = 0
        for name in [name for name in ledger.left if self._left_at.get(name, math.inf) <= latest]:
            # It has left for good, so this never holds; to delete what is named would be worse than to keep too much.
            if not is_named(ledger.timeline, name):
                try:
                    self._store.delete(name)
                except OutputError as error:
                    log.warning("%s has left the DVR window and was not deleted: %s", name, error)
                    break
                gone += 1
            del ledger.left[name]
            del self._left_at[name]
        return gone


def grace_s(timeline: Timeline) -> Fraction:
    """For how many seconds an object outlives the last manifest that named it."""
    return GRACE_SEGMENTS * max(timeline.longest_segment(), Fraction(timeline.segment_ms, 1000))
