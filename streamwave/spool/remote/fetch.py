"""Fetches a broadcast's spool from the store into a replica: session by session, line by line, each chunk before its line."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from streamwave.errors import OutputError, SpoolError
from streamwave.spool.broadcast import CLOSED
from streamwave.spool.encoding import FILE as ENCODING
from streamwave.spool.journal import JOURNAL, LOCK, ChunkLine, EndRecord, read_line
from streamwave.spool.remote.lines import JournalLines
from streamwave.spool.remote.objects import METADATA, RECEIVER
from streamwave.spool.remote.progress import Progress
from streamwave.spool.remote.sign import Sign
from streamwave.storage.store import Store
from streamwave.util.files import replace_file
from streamwave.util.interval import Interval

log = logging.getLogger("streamwave.spool")

#: How often to ask for the next line: the most that polling delays a chunk, besides the time to store and to fetch it.
POLL_S = 0.2
#: How often to ask for everything else while there is no line.
LOOK_S = 2.0
CLOSED_LOOK_S = 0.5
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 4.0
#: Files that are fetched at the same time.
PARALLEL = 4
LOST = "the machine that received it is lost; what it had stored is published"


class Fetcher:
    """A thread that fills the replica in ``folder`` from ``store``; ``progress`` tells which chunks are still needed.

    The replica holds at most ``most`` unpublished chunks. If the receiving machine gives no heartbeat for ``lost_s``, it
    counts as lost: its session ends with the last stored line, and the broadcast is closed if no session follows.
    """

    def __init__(self, folder: Path, store: Store, progress: Progress, *, most: int, lost_s: float) -> None:
        self._folder, self._store, self._progress = folder, store, progress
        self._most, self._lost_s = most, lost_s
        self.trouble = ""
        self._refused_since: float | None = None
        self._lines = JournalLines(store)
        self._session: Path | None = None
        self._waiting_since: float | None = None
        self._receiver = Sign(LOOK_S)
        self._metadata, self._heartbeat, self._closed = Interval(LOOK_S), Interval(LOOK_S), Interval(CLOSED_LOOK_S)
        self._stopping = threading.Event()
        self._pool = ThreadPoolExecutor(PARALLEL, thread_name_prefix="fetch")
        self._thread = threading.Thread(target=self._run, name="fetch", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(30)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def refused_s(self) -> float:
        """For how long the store has refused, in seconds; ``trouble`` says why."""
        since = self._refused_since
        return time.monotonic() - since if since is not None else 0.0

    def _run(self) -> None:
        pause_s, wait_s = FIRST_PAUSE_S, 0.0
        while not self._stopping.wait(wait_s):
            try:
                wait_s = 0.0 if self._step() else POLL_S
                pause_s, self._refused_since = FIRST_PAUSE_S, None
            except (OutputError, OSError) as error:
                if self._refused_since is None:
                    log.warning("cannot fetch the spool from its store, trying again: %s", error)
                    self._refused_since = time.monotonic()
                self.trouble = str(error)
                wait_s, pause_s = pause_s, min(2 * pause_s, LONGEST_PAUSE_S)
            except Exception:
                log.exception("cannot fetch the spool from its store, trying again in %g s", LONGEST_PAUSE_S)
                wait_s = LONGEST_PAUSE_S

    def _step(self) -> bool:
        """Fetch the next line with its chunk; False if there is none, or no room for it."""
        if self._metadata.due() and (metadata := self._store.get(METADATA)) is not None:
            replace_file(self._folder / METADATA, metadata)
        if self._progress.held >= self._most:
            return False
        line = self._lines.peek(waiting=self._waiting_since is not None)
        if line is None:
            self._look_around()
            return False
        self._receiver.lives()
        self._waiting_since = None
        session = self._session or self._begin()
        self._take(session, line)
        return True

    def _begin(self) -> Path:
        """Create the folder of the next session in the replica."""
        session = self._folder / self._lines.session
        encoding = self._store.get(f"{session.name}/{ENCODING}")
        session.mkdir(exist_ok=True)
        (session / LOCK).touch()
        if encoding is not None:
            replace_file(session / ENCODING, encoding)
        self._progress.begin(session)
        self._session = session
        return session

    def _take(self, session: Path, line: bytes) -> None:
        """Add a line to the replica's journal, after fetching its chunk."""
        try:
            record = read_line(line)
        except SpoolError:  # the reader of the replica reports it
            record = None
        if isinstance(record, ChunkLine):
            chunk = record.chunk
            names = [name for name in (chunk.video_file, chunk.audio_file) if name]
            if self._progress.needs(session.name, chunk.number):
                list(self._pool.map(lambda name: self._fetch(session, name), names))
                self._progress.fetched(session.name, chunk.number, names)
        _append(session, line)
        self._lines.advance()
        if isinstance(record, EndRecord):
            self._leave()

    def _fetch(self, session: Path, name: str) -> None:
        data = self._store.get(f"{session.name}/{name}")
        if data is not None:  # else it was published and deleted
            replace_file(session / name, data)

    def _leave(self) -> None:
        self._session = None
        self._lines.next_session()

    def _look_around(self) -> None:
        """Find out whether a line may still come, now that none is there."""
        now = time.monotonic()
        self._waiting_since = self._waiting_since or now
        if self._session is None and self._closed.due():
            count = self._store.get(CLOSED)
            if count is not None and int(count) == self._lines.sessions:
                (self._folder / CLOSED).touch()
        if now - self._waiting_since > LOOK_S and self._heartbeat.due():
            self._receiver.saw(self._store.get(RECEIVER))
        if self._receiver.silent_s > self._lost_s and not (self._folder / CLOSED).exists():
            log.warning("%s: %s", self._folder.name, LOST)
            if self._session is not None:
                record = EndRecord(reason="cut off", error=LOST, ended_unix_ms=time.time_ns() // 1_000_000)
                _append(self._session, record.model_dump_json().encode())
                self._leave()
            else:
                (self._folder / CLOSED).touch()


def _append(session: Path, line: bytes) -> None:
    with (session / JOURNAL).open("ab", buffering=0) as file:
        file.write(line + b"\n")
