"""The replica: a run's local folder with the spool of its broadcast, filled from the store while the run goes on.

One thread fetches the journal lines in order, each chunk before its line, and a limited number of chunks ahead; another one
writes the run's heartbeat, with its status. Everything that reads a spool works on a replica unchanged.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from streamwave.config.settings import Settings
from streamwave.errors import FencedError, OutputError, SpoolError
from streamwave.spool.broadcast import FINISHED, INFO, BroadcastSpool
from streamwave.spool.follow import START_S
from streamwave.spool.remote.fetch import Fetcher
from streamwave.spool.remote.objects import RUN, RunRecord, open_spool, read_run_record, remove
from streamwave.storage.store import Store
from streamwave.util.digest import fingerprint
from streamwave.util.files import replace_file
from streamwave.util.scratch import scratch_folder
from streamwave.util.waiting import wait_until

log = logging.getLogger("streamwave.spool")

BEAT_S = 1.0
#: How long another run's heartbeat is watched before this run takes over from it.
TAKEOVER_S = 3.0
#: Longest back-off for a store that refuses.
LONGEST_PAUSE_S = 4.0
#: Chunks that are prefetched.
AHEAD = 4
#: How long to wait for the receiving side to notice that everything is published.
NOTICE_S = 10.0
#: The receiving machine counts as lost after the reconnect window plus this time without a heartbeat.
LOST_S = 120.0


class Replica(BroadcastSpool):
    """The spool at ``store``, replicated to ``folder`` for one run.

    ``twin`` is the receiving side's folder if that is on this machine. At most ``most`` chunks are kept in the replica; a
    store that refuses for longer than ``patience_s`` fails the run.
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
        self._store, self._twin, self._patience_s, self._lost_s = store, twin, patience_s, lost_s
        self._token = fingerprint(folder, time.time_ns())
        self._record = RunRecord(token=self._token)
        self._twin_lock: IO[bytes] | None = None
        self._replaced = self._handed_over = False
        self._stopping = threading.Event()
        self._beating: threading.Thread | None = None
        self._fetcher: Fetcher | None = None
        self._most = most

    def pull(self, limit_s: float = START_S) -> None:
        """Fetch the description of the broadcast, its end mark and the last status.

        Raises:
            SpoolError: no broadcast appeared at the address within ``limit_s``.
            OutputError: the store refused for that long.
        """
        end, pause_s = time.monotonic() + limit_s, 0.1
        while (info := self._patiently(lambda: self._store.get(INFO), end)) is None:
            if time.monotonic() > end:
                raise SpoolError(f"there is no broadcast at {self._store.url}; check the address")
            time.sleep(pause_s)
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_file(self.folder / INFO, info)
        finished = self._patiently(lambda: self._store.get(FINISHED), end)
        if finished is not None:
            replace_file(self.folder / FINISHED, finished)
        if (before := self._read_run()) is not None:
            super().write_status(before.status)

    # --- the run ------------------------------------------------------------------------------------------------------

    def hold_run(self) -> IO[bytes] | None:
        """Become the only run that publishes this broadcast; None if another run is alive.

        Raises:
            OutputError: the store refused.
        """
        if self._beating is not None:
            return super().hold_run()
        local = self._twin is not None and (self._twin / INFO).exists()
        if local and self._twin is not None:
            self._twin_lock = BroadcastSpool(self._twin).hold_run()
            if self._twin_lock is None:
                return None
        before = self._read_run()
        # An earlier run on this machine is certainly gone, because it held the lock that is ours now.
        if before is not None and not before.ended and not (local and before.local) and self._lives(before):
            self._let_go()
            return None
        self._record = RunRecord(token=self._token, local=local, done=before.done if before is not None else {})
        data = self._record.model_dump_json().encode()
        self._patiently(lambda: self._store.put(RUN, data), time.monotonic() + START_S)
        self._fetcher = Fetcher(
            self.folder, self._store, self._record.done, most=self._most, lost_s=self._lost_s + self._window_s()
        )
        self._fetcher.start()
        self._beating = threading.Thread(target=self._beat, name="run-beat", daemon=True)
        self._beating.start()
        return super().hold_run()

    def _read_run(self) -> RunRecord | None:
        return read_run_record(self._patiently(lambda: self._store.get(RUN), time.monotonic() + START_S))

    def _window_s(self) -> float:
        return self.info().reconnect_window_ms / 1000

    def _lives(self, before: RunRecord) -> bool:
        end = time.monotonic() + TAKEOVER_S
        while time.monotonic() < end:
            time.sleep(BEAT_S / 4)
            now = self._read_run()
            if now != before:
                return now is not None and not now.ended
        return False

    def _beat(self) -> None:
        trouble = ""
        while not self._stopping.wait(BEAT_S):
            try:
                if self._fetcher is not None:
                    self._fetcher.note()
                    self._record = self._record.model_copy(update={"done": self._fetcher.done})
                found = read_run_record(self._store.get(RUN))
                if found is None or found.token != self._token:
                    self._replaced = True
                    return
                self._tell()
                if self._fetcher is not None:
                    self._fetcher.forget()
                trouble = ""
            except (OutputError, OSError) as error:
                if str(error) != trouble:
                    log.warning("%s/%s: %s", self.stream, self.broadcast, error)
                trouble = str(error)

    def _tell(self, **changes: object) -> None:
        status = self.status()
        self._record = self._record.model_copy(update={"beat": self._record.beat + 1, "status": status, **changes})
        self._store.put(RUN, self._record.model_dump_json().encode())

    def receiving(self, session: Path) -> bool:
        """True until the session's journal has ended, because more may always be fetched.

        Raises:
            FencedError: another run has taken over, or the broadcast was ended elsewhere.
            OutputError: the store has refused for too long.
        """
        self._check()
        return True

    def close_if_over(self, now_unix_ms: int) -> bool:
        """Whether the receiving machine has closed the broadcast, or is lost. Raises the errors of ``receiving``."""
        self._check()
        return self.closed

    def _check(self) -> None:
        if self._replaced:
            raise FencedError(
                f"another run has taken over {self.stream}/{self.broadcast}, or the broadcast was ended; this run stops"
            )
        if self._fetcher is not None and self._fetcher.refused_s() > self._patience_s:
            raise OutputError(self._fetcher.trouble)

    def share(self, session: Path, name: str) -> None:
        """Upload a file of the session, so that later runs find it.

        Raises:
            OutputError: the store has refused for too long.
        """
        data, end = (session / name).read_bytes(), time.monotonic() + self._patience_s
        self._patiently(lambda: self._store.put(f"{session.name}/{name}", data), end)

    def hand_over(self) -> None:
        """Mark the broadcast in the store as completely published.

        Raises:
            OutputError: the store has refused for too long.
        """
        end = time.monotonic() + self._patience_s
        count = str(len(self.sessions())).encode()
        self._patiently(lambda: self._store.put(FINISHED, count), end)
        self._handed_over = True
        self._stop()
        with suppress(OutputError):  # the mark is sufficient; the janitor deletes the rest
            self._tell(ended=True)
            remove(self._store, [e.name for session in self.sessions() for e in self._store.entries(session.name)])

    def _patiently(self, ask: Callable[[], Any], end: float) -> Any:
        """The result of ``ask``, called with back-off while the store refuses, until the monotonic time ``end``."""
        pause_s = 0.25
        while True:
            try:
                return ask()
            except OutputError:
                if time.monotonic() + pause_s > end:
                    raise
                self._check()
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _stop(self) -> None:
        self._stopping.set()
        if self._beating is not None:
            self._beating.join(30)
        if self._fetcher is not None:
            self._fetcher.stop()

    def _let_go(self) -> None:
        if self._twin_lock is not None:
            self._twin_lock.close()
            self._twin_lock = None

    def close(self) -> None:
        """Stop all threads and release the locks at the end of the run, whether it succeeded or failed."""
        began = self._beating is not None
        self._stop()
        if began and not self._replaced and not self._record.ended:
            with suppress(OutputError):  # without this, the run looks as if it had been killed
                self._tell(ended=True)
        if self._handed_over and self._twin is not None and self._twin_lock is not None:
            # Keep the lock until `finished` is visible; otherwise the reconciler starts another run.
            there = BroadcastSpool(self._twin)
            wait_until(lambda: there.finished or not there.folder.exists(), NOTICE_S)
        self._let_go()


@contextmanager
def replica(url: str, settings: Settings, *, queued: int) -> Iterator[Replica]:
    """A replica of the broadcast's spool at ``url`` for the duration of a run. Its files are deleted at the end.

    ``queued``: how many chunks may wait for outputs that are behind.

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
            # Quick, i.e. without retries: the replica retries itself, and a heartbeat must not wait for retries.
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
