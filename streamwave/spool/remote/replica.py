"""The replica: a local folder in which a run finds the spool of its broadcast, filled from the store as it goes.

A thread fetches the lines of the journals in order, each chunk before its line, and only some chunks ahead; another one
gives the run's sign of life, with its status. Everything that reads a spool works on it as on any other.
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
from streamwave.spool.remote.objects import RUN, RunWord, open_spool, read_word, remove
from streamwave.spool.remote.progress import Progress
from streamwave.storage.store import Store
from streamwave.util.digest import fingerprint
from streamwave.util.files import replace_file
from streamwave.util.scratch import scratch_folder
from streamwave.util.waiting import wait_until

log = logging.getLogger("streamwave.spool")

BEAT_S = 1.0
#: For this long another run's sign of life is watched before this one takes over from it.
TAKEOVER_S = 3.0
#: Longest pause between two tries at a store that refuses.
LONGEST_PAUSE_S = 4.0
#: Chunks that are fetched before the run can take them.
AHEAD = 4
#: How long the receiving side may take to notice that everything is published.
NOTICE_S = 10.0
#: When the machine that receives has given no sign of life for the reconnect window and this, it is lost.
LOST_S = 120.0


class Replica(BroadcastSpool):
    """The spool at ``store`` as one run sees it, in ``folder``.

    ``twin`` is where the receiving side keeps it, if that is this machine. ``most`` chunks lie here at the same time;
    a store that refuses for longer than ``patience_s`` fails the run.
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
        self._word = RunWord(token=self._token)
        self._twin_lock: IO[bytes] | None = None
        self._replaced = self._handed_over = False
        self._stopping = threading.Event()
        self._beating: threading.Thread | None = None
        self._fetcher: Fetcher | None = None
        self._progress: Progress | None = None
        self._most = most

    def pull(self, limit_s: float = START_S) -> None:
        """Fetch what describes the broadcast.

        Raises:
            SpoolError: there is none at the address within ``limit_s``.
            OutputError: the store refuses for as long.
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
        """Become the one run that publishes this broadcast; None if another one gives signs of life.

        Raises:
            OutputError: the store refuses.
        """
        if self._beating is not None:
            return super().hold_run()
        local = self._twin is not None and (self._twin / INFO).exists()
        if local and self._twin is not None:
            self._twin_lock = BroadcastSpool(self._twin).hold_run()
            if self._twin_lock is None:
                return None
        before = self._read_run()
        # One that held the lock which is ours now is gone for certain.
        if before is not None and not before.ended and not (local and before.local) and self._lives(before):
            self._let_go()
            return None
        self._word = RunWord(token=self._token, local=local, done=before.done if before is not None else {})
        data = self._word.model_dump_json().encode()
        self._patiently(lambda: self._store.put(RUN, data), time.monotonic() + START_S)
        self._progress = Progress(self._store, self._word.done)
        self._fetcher = Fetcher(
            self.folder, self._store, self._progress, most=self._most, lost_s=self._lost_s + self._window_s()
        )
        self._fetcher.start()
        self._beating = threading.Thread(target=self._beat, name="run-beat", daemon=True)
        self._beating.start()
        return super().hold_run()

    def _read_run(self) -> RunWord | None:
        return read_word(self._patiently(lambda: self._store.get(RUN), time.monotonic() + START_S))

    def _window_s(self) -> float:
        return self.info().reconnect_window_ms / 1000

    def _lives(self, before: RunWord) -> bool:
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
                if self._progress is not None:
                    self._progress.note()
                    self._word = self._word.model_copy(update={"done": self._progress.done})
                found = read_word(self._store.get(RUN))
                if found is None or found.token != self._token:
                    self._replaced = True
                    return
                self._tell()
                if self._progress is not None:
                    self._progress.forget()
                trouble = ""
            except (OutputError, OSError) as error:
                if str(error) != trouble:
                    log.warning("%s/%s: %s", self.stream, self.broadcast, error)
                trouble = str(error)

    def _tell(self, **changes: object) -> None:
        status = self.status()
        self._word = self._word.model_copy(update={"beat": self._word.beat + 1, "status": status, **changes})
        self._store.put(RUN, self._word.model_dump_json().encode())

    def receiving(self, session: Path) -> bool:
        """Whether more of a session may come: until its journal says that it has ended.

        Raises:
            FencedError: another run has taken over, or the broadcast was ended elsewhere.
            OutputError: the store has refused for too long.
        """
        self._check()
        return True

    def close_if_over(self, now_unix_ms: int) -> bool:
        """Whether the machine that receives has closed the broadcast, or is lost. As ``receiving`` otherwise."""
        self._check()
        return self.closed

    def _check(self) -> None:
        if self._replaced:
            raise FencedError(
                f"another run has taken over {self.stream}/{self.broadcast}, or it was ended; this one ends"
            )
        if self._fetcher is not None and self._fetcher.refused_s() > self._patience_s:
            raise OutputError(self._fetcher.trouble)

    def share(self, session: Path, name: str) -> None:
        """Store a file of the session, so that every run finds it.

        Raises:
            OutputError: the store has refused for too long.
        """
        data, end = (session / name).read_bytes(), time.monotonic() + self._patience_s
        self._patiently(lambda: self._store.put(f"{session.name}/{name}", data), end)

    def hand_over(self) -> None:
        """Everything is published: say so, for good.

        Raises:
            OutputError: the store has refused for too long.
        """
        end = time.monotonic() + self._patience_s
        count = str(len(self.sessions())).encode()
        self._patiently(lambda: self._store.put(FINISHED, count), end)
        self._handed_over = True
        self._stop()
        with suppress(OutputError):  # who looks finds the mark, and a janitor the rest
            self._tell(ended=True)
            remove(self._store, [e.name for session in self.sessions() for e in self._store.entries(session.name)])

    def _patiently(self, ask: Callable[[], Any], end: float) -> Any:
        """What ``ask`` gives, asked again while the store refuses, until ``end``."""
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
        """End; the run is over, one way or the other."""
        began = self._beating is not None
        self._stop()
        if began and not self._replaced and not self._word.ended:
            with suppress(OutputError):  # then it looks as if the run was killed
                self._tell(ended=True)
        if self._handed_over and self._twin is not None and self._twin_lock is not None:
            # Whoever sees that nobody holds it shall see that nobody has to.
            there = BroadcastSpool(self._twin)
            wait_until(lambda: there.finished or not there.folder.exists(), NOTICE_S)
        self._let_go()


@contextmanager
def replica(url: str, settings: Settings, *, queued: int) -> Iterator[Replica]:
    """The spool of a broadcast at ``url``, for the time of a run; afterwards no file of it is left here.

    ``queued``: how many chunks may wait for outputs that are behind.

    Raises:
        SpoolError: there is no broadcast.
        OutputError: the store refuses.
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
            # Quick: everything is asked again here, and soon, while a sign of life must not wait for many tries.
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
