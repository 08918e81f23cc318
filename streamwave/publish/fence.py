"""The fence: one run at a time publishes a broadcast, and a run that was replaced notices before it names anything.

An object at the output holds the token of the run in charge. A run that takes over writes its own token and then reads what
was published. No request both checks the token and writes, so a run that was suspended between the two (a stale run) can
still write once more. That is harmless, even though its encoder may have produced other bytes from the same chunks:

- Segments. Two encodes of a chunk need not be equal byte for byte (live encoders have several threads), but name, time
  and duration follow from the journal, the init segment follows from the settings kept in the spool, and each segment is one
  object. So a reader gets a whole segment of either run, and it fits the neighbouring segments of the other run. Only the
  size and the digest in the ledger may belong to the other encode. The size only affects the stated bandwidths, because no
  manifest names byte ranges; the digest is compared only where the size is right.
- Manifests and ledger. The new run writes all of them with its next chunk, from its own state.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from streamwave.errors import EmptiedError, FencedError, OutputError
from streamwave.layout import FENCE, ledger_name
from streamwave.storage.store import Store
from streamwave.untrusted import parse_json

#: For this many seconds a run at a remote store may write without looking at the fence again. A run that takes over waits as
#: long before it reads the ledger, so that the ledger contains whatever was written after an older look.
FRESH_S = 1.0


class Fence:
    """The fence of the broadcast at ``store``, for the run that ``token`` identifies. Thread-safe."""

    def __init__(self, store: Store, token: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._token, self._clock = store, token, clock
        self._seen: float | None = None  # start of the last look that found our token
        self._given_up = False

    def take(self, *, ended: bool) -> None:
        """Become the run in charge. ``ended``: the broadcast is complete, so no other run can be writing to it.

        Raises:
            OutputError: the store refused a request.
        """
        before = self._holder()
        self._store.put(FENCE, json.dumps({"token": self._token}).encode())
        if self._store.remote and before not in (None, self._token) and not ended:
            time.sleep(FRESH_S)

    def give_up(self) -> None:
        """From now on ``look`` and ``check`` say that this run may not write."""
        self._given_up = True

    def holds(self) -> bool:
        """Whether the fence holds this run's token."""
        return self._holder() == self._token

    def look(self) -> None:
        """Read the fence and make sure that this run is in charge.

        Raises:
            FencedError: another run is in charge, or this one has given up.
            EmptiedError: the broadcast was deleted; its output is still there.
            OutputError: the broadcast and its output have gone, as happens when a disk is not mounted; or only the fence has
                gone, which no run of ours deletes before the ledger.
        """
        if self._given_up:
            raise FencedError(f"publishing to {self._store.url} was given up")
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
        if holder is None:  # usually somebody's `rm -r` has not reached the ledger yet
            raise OutputError(
                f"{self._store.url} lacks {FENCE}, so nothing is published there; delete the rest of the broadcast too, or end "
                "this run: the next one continues where it stopped"
            )
        raise FencedError(f"another run has taken over {self._store.url}; this one ends")

    def check(self) -> None:
        """Like ``look``, but without a request to a remote store if the last look is recent (``FRESH_S``)."""
        recent = self._seen is not None and self._clock() - self._seen <= FRESH_S
        if self._given_up or not self._store.remote or not recent:
            self.look()

    def _holder(self) -> str | None:
        data = self._store.get(FENCE)
        if data is None:
            return None
        try:
            return str(parse_json(data).get("token"))
        except (ValueError, AttributeError):  # damaged on the disk, so it is not our token
            return ""
