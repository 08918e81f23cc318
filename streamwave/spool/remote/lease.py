"""The lease by which one run at a time publishes a broadcast whose spool is in a store: ``run.json``, rewritten each second."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Protocol

from streamwave.errors import OutputError
from streamwave.spool.broadcast import INFO, BroadcastSpool
from streamwave.spool.follow import START_S
from streamwave.spool.remote.objects import RUN, RunRecord, read_run_record
from streamwave.spool.remote.patience import patiently
from streamwave.storage.store import Store

log = logging.getLogger("streamwave.spool")

BEAT_S = 1.0
#: A run watches the heartbeat of the run before it for this long before it takes over.
TAKEOVER_S = 3.0


class Fetching(Protocol):
    """What the lease tells others of, and cleans up after: the chunks that the run has fetched."""

    @property
    def done(self) -> dict[str, int]:
        """For each session, the number of the first chunk that may still be needed."""

    def note(self) -> None:
        """Update ``done``."""

    def forget(self) -> None:
        """Delete the objects of chunks that no run needs any more."""


class RunLease:
    """The lease of the run that ``token`` identifies, on the broadcast at ``store``; ``name`` is the broadcast's in logs.

    If this machine also receives the broadcast, ``twin`` is the folder of its spool there. Its lock is held as well, because
    a lock tells at once that its holder has died. ``replaced`` is set when another run has taken the lease.
    """

    def __init__(self, store: Store, token: str, name: str, *, twin: Path | None) -> None:
        self._store, self._token, self._name, self._twin = store, token, name, twin
        self._record = RunRecord(token=token)
        self._twin_lock: IO[bytes] | None = None
        self._stopping = threading.Event()
        self._beating: threading.Thread | None = None
        self.replaced = False

    @property
    def begun(self) -> bool:
        """Whether heartbeats have been given."""
        return self._beating is not None

    @property
    def done(self) -> dict[str, int]:
        """For each session, the number of the first chunk that may still be needed, as the run before has recorded it."""
        return self._record.done

    def read(self) -> RunRecord | None:
        """What ``run.json`` says now.

        Raises:
            OutputError: the store refuses.
        """
        return read_run_record(patiently(lambda: self._store.get(RUN), START_S))

    def take(self) -> bool:
        """Take the lease unless another run holds it.

        Raises:
            OutputError: the store refuses.
        """
        local = self._twin is not None and (self._twin / INFO).exists()
        if local and self._twin is not None:
            self._twin_lock = BroadcastSpool(self._twin).hold_run()
            if self._twin_lock is None:
                return False
        before = self.read()
        # A run that held the lock which we hold now has certainly ended.
        if before is not None and not before.ended and not (local and before.local) and self._lives(before):
            self.release()
            return False
        self._record = RunRecord(token=self._token, local=local, done=before.done if before is not None else {})
        data = self._record.model_dump_json().encode()
        patiently(lambda: self._store.put(RUN, data), START_S)
        return True

    def _lives(self, before: RunRecord) -> bool:
        end = time.monotonic() + TAKEOVER_S
        while time.monotonic() < end:
            time.sleep(BEAT_S / 4)
            now = self.read()
            if now != before:
                return now is not None and not now.ended
        return False

    def keep(self, fetching: Fetching, status: Callable[[], dict[str, Any]]) -> None:
        """Give a heartbeat every second, in a thread, with the run's status and progress, until ``stop``."""
        self._stopping.clear()
        self._beating = threading.Thread(target=self._beat, args=(fetching, status), name="run-beat", daemon=True)
        self._beating.start()

    def _beat(self, fetching: Fetching, status: Callable[[], dict[str, Any]]) -> None:
        trouble = ""
        while not self._stopping.wait(BEAT_S):
            try:
                fetching.note()
                self._record = self._record.model_copy(update={"done": fetching.done})
                found = read_run_record(self._store.get(RUN))
                if found is None or found.token != self._token:
                    self.replaced = True
                    return
                self._put(status=status())
                fetching.forget()
                trouble = ""
            except (OutputError, OSError) as error:
                if str(error) != trouble:
                    log.warning("%s: %s", self._name, error)
                trouble = str(error)

    def _put(self, **changes: object) -> None:
        self._record = self._record.model_copy(update={"beat": self._record.beat + 1, **changes})
        self._store.put(RUN, self._record.model_dump_json().encode())

    def stop(self) -> None:
        """End the heartbeats."""
        self._stopping.set()
        if self._beating is not None:
            self._beating.join(30)

    def end(self, status: dict[str, Any]) -> None:
        """Record that the run has ended, unless that was done, or another run has taken over."""
        if self.begun and not self.replaced and not self._record.ended:
            with suppress(OutputError):  # then the run looks as if it had been killed
                self._put(status=status, ended=True)

    @property
    def holds_twin(self) -> bool:
        """Whether the lock in the folder of the receiving side is held."""
        return self._twin_lock is not None

    def release(self) -> None:
        """Release the lock in the folder of the receiving side."""
        if self._twin_lock is not None:
            self._twin_lock.close()
            self._twin_lock = None
