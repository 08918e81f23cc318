"""The fence: one run at a time publishes a broadcast, and a run that was replaced notices before it names anything.

An object holds the token of the run in charge; who takes over writes its own and then reads what was published. There is
no request that both looks and writes, so a run that was stopped for a while between the two (a stale one) can still
write once more. What that does is harmless, whatever its encoder made of the same chunks:

- Segments. Two encodes of a chunk need not be equal byte for byte (live encoders have several threads), but name, time
  and duration follow from the journal, the init segment from the settings kept in the spool, and each segment is one
  object. So readers get a whole segment of either run, which fits its neighbours of the other. Only size and
  digest in the ledger may be those of the other one: the size counts for stated bandwidths, no manifest names byte
  ranges, and a digest is only looked at where the size is right.
- Manifests and ledger. The successor writes all of them with its next chunk, from its own state.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from streamwave.errors import EmptiedError, FencedError, OutputError
from streamwave.layout import FENCE, ledger_name
from streamwave.storage.store import Store
from streamwave.untrusted import parse_json

#: For how long a look at the fence is good enough to write on, where a look is a round trip. Who takes over waits for
#: as long before it reads the ledger, so that what was written on the strength of an older look is in there.
FRESH_S = 1.0


class Fence:
    """The fence of the broadcast at ``store``, as the run sees it that ``token`` stands for. Thread-safe."""

    def __init__(self, store: Store, token: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._token, self._clock = store, token, clock
        self._seen: float | None = None  # when the last look began that found it ours

    def take(self, *, ended: bool) -> None:
        """Become the run in charge. ``ended``: the broadcast is complete, and nobody can be writing to it.

        Raises:
            OutputError: the store refused.
        """
        before = self._holder()
        self._store.put(FENCE, json.dumps({"token": self._token}).encode())
        if self._store.remote and before not in (None, self._token) and not ended:
            time.sleep(FRESH_S)

    def holds(self) -> bool:
        """Whether this run is in charge."""
        return self._holder() == self._token

    def look(self) -> None:
        """Make sure that this run is in charge.

        Raises:
            FencedError: another one is.
            EmptiedError: the whole broadcast has gone, and its output is in its place.
            OutputError: it has gone, and so has the output, as it looks while a disk is not mounted.
        """
        began = self._clock()
        holder = self._holder()
        if holder == self._token:
            self._seen = max(began, self._seen or began)
            return
        if holder is None and self._store.get(ledger_name(0)) is None:
            if self._store.is_in_place():
                raise EmptiedError(f"the broadcast was deleted from {self._store.url} while it was being published")
            raise OutputError(
                f"{self._store.url} does not hold the broadcast any more; if it was moved or unmounted, bring it back"
            )
        raise FencedError(f"another run has taken over {self._store.url}; this one ends")

    def check(self) -> None:
        """As ``look``, unless that is a round trip and was done a moment ago."""
        if not self._store.remote or self._seen is None or self._clock() - self._seen > FRESH_S:
            self.look()

    def _holder(self) -> str | None:
        data = self._store.get(FENCE)
        if data is None:
            return None
        try:
            return str(parse_json(data).get("token"))
        except (ValueError, AttributeError):  # a disk has damaged it: whoever it is, it is not us
            return ""
