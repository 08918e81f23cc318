"""Fetches a broadcast's spool from the store into a replica: session by session, each chunk before its journal line."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from streamwave.errors import OutputError, SpoolError
from streamwave.spool.broadcast import CLOSED
from streamwave.spool.encoding import FILE as ENCODING
from streamwave.spool.journal import JOURNAL, LOCK, ChunkLine, EndRecord, read_line
from streamwave.spool.remote.heartbeat import Heartbeat
from streamwave.spool.remote.needed import NeededChunks
from streamwave.spool.remote.objects import METADATA, RECEIVER
from streamwave.spool.remote.stored import StoredJournals
from streamwave.storage.store import Store
from streamwave.util.files import replace_file
from streamwave.util.interval import Interval

log = logging.getLogger("streamwave.spool")

#: Polling interval for the next line; it adds at most this to the latency of a chunk.
POLL_S = 0.2
#: Polling interval for everything else while there is no line.
LOOK_S = 2.0
CLOSED_LOOK_S = 0.5
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 4.0
#: Objects that are fetched or deleted concurrently.
PARALLEL = 4
LOST = "the receiving machine is lost; everything that it had uploaded is published"


class Fetcher:
    """Fetches into the replica ``folder``, in a thread. ``done``: see ``NeededChunks``.

    The replica holds at most ``most`` chunks. A receiving machine without a heartbeat for ``lost_s`` is lost: then the
    session ends, and the broadcast is closed unless another session follows.
    """

    def __init__(self, folder: Path, store: Store, done: Mapping[str, int], *, most: int, lost_s: float) -> None:
        self._folder, self._store, self._most, self._lost_s = folder, store, most, lost_s
        self.trouble = ""
        self._refused_since: float | None = None
        self._needed = NeededChunks(done)
        self._journals = StoredJournals(store)
        self._session: Path | None = None
        self._waiting_since: float | None = None
        self._receiver = Heartbeat(LOOK_S)
        self._metadata, self._heartbeat, self._closed = Interval(LOOK_S), Interval(LOOK_S), Interval(CLOSED_LOOK_S)
        self._stopping = threading.Event()
        self._pool = ThreadPoolExecutor(PARALLEL, thread_name_prefix="fetch")
        self._thread = threading.Thread(target=self._run, name="fetch", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the threads."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(30)
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def done(self) -> dict[str, int]:
        """For each session, the number of the first chunk that may still be needed."""
        return self._needed.done

    def refused_s(self) -> float:
        """For how long the store has refused; ``trouble`` says why."""
        since = self._refused_since
        return time.monotonic() - since if since is not None else 0.0

    def note(self) -> None:
        """Update ``done``."""
        self._needed.note()

    def forget(self) -> None:
        """Delete the objects of chunks that no run needs any more.

        Raises:
            OutputError: the store refused; the next call tries again.
        """
        self.note()
        names = self._needed.deletable
        for name, _ in zip(names, self._pool.map(self._store.delete, names), strict=True):
            self._needed.deleted(name)

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        pause_s, wait_s = FIRST_PAUSE_S, 0.0
        while not self._stopping.wait(wait_s):
            try:
                wait_s = 0.0 if self._step() else POLL_S
                pause_s, self._refused_since = FIRST_PAUSE_S, None
            except (OutputError, OSError) as error:
                if self._refused_since is None:
                    log.warning("received chunks cannot be fetched: %s", error)
                    self._refused_since = time.monotonic()
                self.trouble = str(error)
                wait_s, pause_s = pause_s, min(2 * pause_s, LONGEST_PAUSE_S)
            except Exception:
                log.exception("received chunks cannot be fetched; retrying")
                wait_s = LONGEST_PAUSE_S

    def _step(self) -> bool:
        """Fetch the next line with its chunk; whether there was one."""
        if self._metadata.due() and (metadata := self._store.get(METADATA)) is not None:
            replace_file(self._folder / METADATA, metadata)
        if self._needed.here >= self._most:
            return False
        line = self._journals.line(is_waiting=self._waiting_since is not None)
        if line is None:
            self._look_around()
            return False
        self._receiver.lives()
        self._waiting_since = None
        session = self._session or self._begin()
        self._take(session, line)
        return True

    def _begin(self) -> Path:
        session = self._folder / self._journals.session
        encoding = self._store.get(f"{session.name}/{ENCODING}")
        session.mkdir(exist_ok=True)
        (session / LOCK).touch()
        if encoding is not None:
            replace_file(session / ENCODING, encoding)
        self._needed.watch(session)
        self._session = session
        return session

    def _take(self, session: Path, line: bytes) -> None:
        """Add a line to the replica's journal, its chunk first."""
        try:
            record = read_line(line)
        except SpoolError:  # readers of the journal report it
            record = None
        if isinstance(record, ChunkLine) and self._needed.needs(session.name, record.chunk.number):
            files = [name for name in (record.chunk.video_file, record.chunk.audio_file) if name]
            names = [f"{session.name}/{name}" for name in files]
            list(self._pool.map(self._fetch, names))
            self._needed.add(session.name, record.chunk.number, names)
        self._append(session, line)
        self._journals.advance()
        if isinstance(record, EndRecord):
            self._leave()

    def _fetch(self, name: str) -> None:
        data = self._store.get(name)
        if data is not None:  # else it was published and deleted already
            replace_file(self._folder / name, data)

    def _append(self, session: Path, line: bytes) -> None:
        with (session / JOURNAL).open("ab", buffering=0) as file:
            file.write(line + b"\n")

    def _leave(self) -> None:
        self._session = None
        self._journals.next_session()

    def _look_around(self) -> None:
        """There is no next line: find out whether the broadcast is closed or the receiving side is lost."""
        now = time.monotonic()
        self._waiting_since = self._waiting_since or now
        if self._session is None and self._closed.due():
            count = self._store.get(CLOSED)
            if count is not None and int(count) == self._journals.sessions:
                (self._folder / CLOSED).touch()
        if now - self._waiting_since > LOOK_S and self._heartbeat.due():
            self._receiver.saw(self._store.get(RECEIVER))
        if self._receiver.silent_s > self._lost_s and not (self._folder / CLOSED).exists():
            log.warning("%s: %s", self._folder.name, LOST)
            if self._session is not None:
                record = EndRecord(reason="cut off", error=LOST, ended_unix_ms=time.time_ns() // 1_000_000)
                self._append(self._session, record.model_dump_json().encode())
                self._leave()
            else:
                (self._folder / CLOSED).touch()
