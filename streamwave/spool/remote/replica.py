"""The replica: a local folder with the spool of a broadcast, which a run fills from the store as it goes.

Everything that reads a spool works on the replica as on any other. The lines of the journals are fetched in order, each chunk
before its line, a few chunks ahead of the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, TypeVar

from streamwave.config.settings import Settings
from streamwave.errors import FencedError, OutputError, SpoolError
from streamwave.spool.broadcast import FINISHED, INFO, BroadcastSpool
from streamwave.spool.follow import START_S
from streamwave.spool.remote.fetch import Fetcher
from streamwave.spool.remote.lease import RunLease
from streamwave.spool.remote.objects import open_spool, remove
from streamwave.spool.remote.patience import patiently
from streamwave.storage.store import Store
from streamwave.util.digest import fingerprint
from streamwave.util.files import replace_file
from streamwave.util.scratch import scratch_folder
from streamwave.util.waiting import wait_until

#: Chunks that are fetched before the run can take them.
AHEAD = 4
#: How long the receiving side may take to notice that everything is published.
NOTICE_S = 10.0
#: A receiving machine without a heartbeat for the reconnect window and this long is lost.
LOST_S = 120.0

T = TypeVar("T")


class Replica(BroadcastSpool):
    """The spool at ``store`` as one run sees it, in ``folder``.

    ``twin`` is the folder where the receiving side keeps the spool, if that is this machine. The replica holds at most
    ``most`` chunks; a store that refuses for longer than ``patience_s`` fails the run.
    """

    def __init__(
        self,
        folder: Path,
        store: Store,
        *,
        twin: Path | None = None,
        most: int = 16,
        patience_s: float = 3600,
        lost_s: float = LOST_S,
    ) -> None:
        super().__init__(folder)
        self._store, self._twin, self._most = store, twin, most
        self._patience_s, self._lost_s = patience_s, lost_s
        token = fingerprint(folder, time.time_ns())
        self._lease = RunLease(store, token, f"{self.stream}/{self.broadcast}", twin=twin)
        self._handed_over = False
        self._fetcher: Fetcher | None = None

    def pull(self, limit_s: float = START_S) -> None:
        """Fetch what describes the broadcast.

        Raises:
            SpoolError: there is no broadcast at the address within ``limit_s``.
            OutputError: the store refuses for as long.
        """
        end = time.monotonic() + limit_s

        def get(name: str) -> bytes | None:
            return patiently(lambda: self._store.get(name), end - time.monotonic(), self._check)

        while (info := get(INFO)) is None:
            if time.monotonic() > end:
                raise SpoolError(f"there is no broadcast at {self._store.url}; check the address")
            time.sleep(0.1)
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_file(self.folder / INFO, info)
        if (finished := get(FINISHED)) is not None:
            replace_file(self.folder / FINISHED, finished)
        if (before := self._lease.read()) is not None:
            super().write_status(before.status)

    # --- the run ------------------------------------------------------------------------------------------------------

    def hold_run(self) -> IO[bytes] | None:
        """Become the one run that publishes this broadcast; None if another one gives heartbeats.

        Raises:
            OutputError: the store refuses.
        """
        if not self._lease.begun:
            if not self._lease.take():
                return None
            lost_s = self._lost_s + self.info().reconnect_window_ms / 1000
            self._fetcher = Fetcher(self.folder, self._store, self._lease.done, most=self._most, lost_s=lost_s)
            self._fetcher.start()
            self._lease.keep(self._fetcher, self.status)
        return super().hold_run()

    def receiving(self, session: Path) -> bool:
        """Whether more of a session may come: until its journal says that it has ended.

        Raises:
            FencedError: another run has taken over, or the broadcast was ended elsewhere.
            OutputError: the store has refused for too long.
        """
        self._check()
        return True

    def close_if_over(self, now_unix_ms: int) -> bool:
        """Whether the receiving machine has closed the broadcast, or is lost. Raises the same as ``receiving``."""
        self._check()
        return self.closed

    def _check(self) -> None:
        if self._lease.replaced:
            raise FencedError(
                f"another run has taken over {self.stream}/{self.broadcast}, or the broadcast was ended; this run stops"
            )
        if self._fetcher is not None and self._fetcher.refused_s() > self._patience_s:
            raise OutputError(self._fetcher.trouble)

    def share(self, session: Path, name: str) -> None:
        """Store a file of the session, so that every run finds it.

        Raises:
            OutputError: the store has refused for too long.
        """
        data = (session / name).read_bytes()
        self._patiently(lambda: self._store.put(f"{session.name}/{name}", data))

    def hand_over(self) -> None:
        """Record for good that everything is published.

        Raises:
            OutputError: the store has refused for too long.
        """
        count = str(len(self.sessions())).encode()
        self._patiently(lambda: self._store.put(FINISHED, count))
        self._handed_over = True
        self._stop()
        self._lease.end(self.status())
        with suppress(OutputError):  # a janitor removes what is left
            remove(self._store, [e.name for session in self.sessions() for e in self._store.entries(session.name)])

    def _patiently(self, ask: Callable[[], T]) -> T:
        return patiently(ask, self._patience_s, self._check)

    def _stop(self) -> None:
        self._lease.stop()
        if self._fetcher is not None:
            self._fetcher.stop()

    def close(self) -> None:
        """End the threads and the lease, whether or not everything is published."""
        self._stop()
        self._lease.end(self.status())
        if self._handed_over and self._twin is not None and self._lease.holds_twin:
            # Keep the lock until ``finished`` is visible; otherwise the reconciler starts another run.
            there = BroadcastSpool(self._twin)
            wait_until(lambda: there.finished or not there.folder.exists(), NOTICE_S)
        self._lease.release()


@contextmanager
def replica(url: str, settings: Settings, *, queued: int) -> Iterator[Replica]:
    """The replica of the spool of the broadcast at ``url``, for the duration of a run. It is removed afterwards.

    ``queued`` is how many chunks may wait for outputs that are behind.

    Raises:
        SpoolError: there is no broadcast at ``url``, or the state folder cannot be written.
        OutputError: the store refused.
    """
    stream, broadcast = url.rstrip("/").split("/")[-2:]
    with ExitStack() as stack:
        place = settings.state_dir / "replica"
        try:
            root = stack.enter_context(scratch_folder(place, "run-"))
        except OSError as error:
            raise SpoolError(f"{place} cannot be written ({error.strerror}); set STREAMWAVE_STATE_DIR") from None
        found = Replica(
            root / stream / broadcast,
            # Quick: requests are repeated here anyway, and a heartbeat must not wait for many attempts.
            open_spool(url, settings.spool_options, quick=True),
            twin=settings.spool_dir / stream / broadcast,
            most=settings.max_chunks_in_flight + queued + AHEAD,
            patience_s=settings.output_patience_s,
        )
        try:
            found.pull()
            yield found
        finally:
            found.close()
