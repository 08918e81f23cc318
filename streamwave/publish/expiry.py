"""Delete segments that have left the DVR window of a channel that keeps no recording, once no player can request them."""

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

#: An object outlives the last manifest that named it by this many segment durations, because players hold older manifests.
GRACE_SEGMENTS = 3


class Expiry:
    """Deletes from ``store`` the objects that are listed in ``Ledger.left``.

    ``clock`` is monotonic, in seconds. After a restart the grace period of all objects begins again, because how long they
    have waited is not recorded.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self._left_at: dict[str, float] = {}

    def note(self, ledger: Ledger) -> None:
        """Start the grace period of objects that the manifests, which have just been written, do not name any more."""
        now = self._clock()
        for name in ledger.left:
            self._left_at.setdefault(name, now)

    def run(self, ledger: Ledger) -> int:
        """Delete the objects that are due; how many were deleted. ``ledger`` must have been saved.

        Objects that cannot be deleted now are tried again with the next call.
        """
        if not ledger.left or ledger.timeline is None:
            return 0
        latest = self._clock() - grace_s(ledger.timeline)
        gone = 0
        for name in [name for name in ledger.left if self._left_at.get(name, math.inf) <= latest]:
            # Always true unless there is a bug: deleting an object that is named is worse than keeping one too many.
            if not is_named(ledger.timeline, name):
                try:
                    self._store.delete(name)
                except OutputError as error:
                    log.warning("%s has left the DVR window and could not be deleted: %s", name, error)
                    break
                gone += 1
            del ledger.left[name]
            del self._left_at[name]
        return gone


def grace_s(timeline: Timeline) -> Fraction:
    """How long an object outlives the last manifest that named it, in seconds."""
    return GRACE_SEGMENTS * max(timeline.longest_segment(), Fraction(timeline.segment_ms, 1000))
