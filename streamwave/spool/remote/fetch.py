"""Fetches a broadcast's spool from the store into a replica: session by session, each chunk before its journal line."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from streamwave.errors import OutputError, SpoolError
from streamwave.spool.broadcast import CLOSED
from streamwave.spool.consumed import Notes, expect_notes
from streamwave.spool.encoding import FILE as ENCODING
from streamwave.spool.journal import JOURNAL, LOCK, ChunkLine, EndRecord, read_line
from streamwave.spool.remote.heartbeat import Heartbeat
from streamwave.spool.remote.objects import METADATA, PART_LINES, RECEIVER, line_name, part_name
from streamwave.storage.store import Store
from streamwave.util.files import replace_file

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
    """The fetching thread; ``folder`` is the replica, ``done`` the first chunk of each session that may still be needed.

    At most ``most`` chunks are kept in the replica. Without a heartbeat for ``lost_s`` the receiving side counts as lost:
    the open session is ended, and the broadcast is closed if no other session follows.
    """

    def __init__(self, folder: Path, store: Store, done: Mapping[str, int], *, most: int, lost_s: float) -> None:
        self._folder, self._store, self._most, self._lost_s = folder, store, most, lost_s
        self.trouble = ""
        self._refused_since: float | None = None
        self._lock = threading.Lock()
        self._done = dict(done)
        self._beyond: dict[str, set[int]] = {}  # published, but not all chunks before them
        self._here: dict[
            tuple[str, int], list[str]
        ] = {}  # (session, chunk) in the replica, and the names of their objects
        self._notes: dict[str, Notes] = {}
        self._undeleted: set[str] = set()
        self._sessions = 0
        self._session: Path | None = None
        self._lines: deque[bytes] = deque()
        self._late = True
        self._next = 0
        self._waiting_since: float | None = None
        self._receiver = Heartbeat(LOOK_S)
        self._looked: dict[str, float] = {}
        self._stopping = threading.Event()
        self._pool = ThreadPoolExecutor(PARALLEL, thread_name_prefix="fetch")
        self._thread = threading.Thread(target=self._run, name="fetch", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(30)
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def done(self) -> dict[str, int]:
        """The number of the first chunk of each session that may still be needed."""
        with self._lock:
            return dict(self._done)

    def refused_s(self) -> float:
        """How long the store has been refusing; ``trouble`` is its error."""
        since = self._refused_since
        return time.monotonic() - since if since is not None else 0.0

    def note(self) -> None:
        """Read which chunks have been published, and advance ``done``."""
        with self._lock:
            for session, notes in self._notes.items():
                for number in notes.read():
                    self._undeleted.update(self._here.pop((session, number), []))
                    beyond = self._beyond.setdefault(session, set())
                    beyond.add(number)
                    first = self._done.get(session, 0)
                    if number < first:
                        beyond.discard(number)
                    while first in beyond:
                        beyond.remove(first)
                        first += 1
                    self._done[session] = first

    def forget(self) -> None:
        """Delete the objects of published chunks.

        Raises:
            OutputError: the store refused; the next call retries.
        """
        self.note()
        with self._lock:
            names = sorted(self._undeleted)
        for name, _ in zip(names, self._pool.map(self._store.delete, names), strict=True):
            self._undeleted.discard(name)

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
        """Fetch the next line and its chunk. Returns whether there was one."""
        if self._due(METADATA, LOOK_S) and (metadata := self._store.get(METADATA)) is not None:
            replace_file(self._folder / METADATA, metadata)
        if len(self._here) >= self._most:
            return False
        line = self._line()
        if line is None:
            self._look_around()
            return False
        self._receiver.lives()
        self._waiting_since = None
        if self._session is None:
            self._begin()
        self._take(line)
        return True

    def _due(self, what: str, every_s: float) -> bool:
        now = time.monotonic()
        if now - self._looked.get(what, float("-inf")) < every_s:
            return False
        self._looked[what] = now
        return True

    @property
    def _name(self) -> str:
        return f"{self._sessions:06d}"

    def _line(self) -> bytes | None:
        """The next line of the session, or the first one of the next session."""
        if not self._lines:
            number, within = divmod(self._next, PART_LINES)
            # A run that starts late reads whole parts; old single lines have been deleted.
            waits = self._waiting_since is not None and self._due("part", LOOK_S)
            if waits or (within == 0 and self._late):
                part = self._store.get(part_name(self._name, number))
                self._late = part is not None
                self._lines.extend((part or b"").splitlines()[within:])
        if not self._lines and (line := self._store.get(line_name(self._name, self._next))) is not None:
            self._lines.append(line)
        return self._lines[0] if self._lines else None

    def _begin(self) -> None:
        session = self._folder / self._name
        encoding = self._store.get(f"{self._name}/{ENCODING}")
        session.mkdir(exist_ok=True)
        (session / LOCK).touch()
        if encoding is not None:
            replace_file(session / ENCODING, encoding)
        expect_notes(session)
        with self._lock:
            self._notes[session.name] = Notes(session)
        self._session = session

    def _take(self, line: bytes) -> None:
        """Add a line to the replica's journal, its chunk first."""
        assert self._session is not None
        try:
            record = read_line(line)
        except SpoolError:  # reported by the reader of the journal
            record = None
        if isinstance(record, ChunkLine):
            number = record.chunk.number
            names = [name for name in (record.chunk.video_file, record.chunk.audio_file) if name]
            if number >= self._done.get(self._session.name, 0):
                list(self._pool.map(self._fetch, names))
                with self._lock:
                    self._here[self._session.name, number] = [f"{self._session.name}/{name}" for name in names]
        self._append(line)
        self._lines.popleft()
        if isinstance(record, EndRecord):
            self._leave()

    def _fetch(self, name: str) -> None:
        assert self._session is not None
        data = self._store.get(f"{self._session.name}/{name}")
        if data is not None:  # else it was published and deleted already
            replace_file(self._session / name, data)

    def _append(self, line: bytes) -> None:
        assert self._session is not None
        with (self._session / JOURNAL).open("ab", buffering=0) as file:
            file.write(line + b"\n")
        self._next += 1

    def _leave(self) -> None:
        self._sessions, self._session, self._next = self._sessions + 1, None, 0
        self._lines.clear()

    def _look_around(self) -> None:
        """There is no next line: find out whether the broadcast is closed or the receiving side is lost."""
        now = time.monotonic()
        self._waiting_since = self._waiting_since or now
        if self._session is None and self._due(CLOSED, CLOSED_LOOK_S):
            count = self._store.get(CLOSED)
            if count is not None and int(count) == self._sessions:
                (self._folder / CLOSED).touch()
        if now - self._waiting_since > LOOK_S and self._due(RECEIVER, LOOK_S):
            self._receiver.saw(self._store.get(RECEIVER))
        if self._receiver.silent_s > self._lost_s and not (self._folder / CLOSED).exists():
            log.warning("%s: %s", self._folder.name, LOST)
            if self._session is not None:
                record = EndRecord(reason="cut off", error=LOST, ended_unix_ms=time.time_ns() // 1_000_000)
                self._append(record.model_dump_json().encode())
                self._leave()
            else:
                (self._folder / CLOSED).touch()
