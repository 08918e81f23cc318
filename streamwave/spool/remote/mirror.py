"""The mirror: uploads what is received, in order, so that the store never has a journal line without its chunk.

It runs as a thread of the segmenter. If the store refuses, receiving continues: the local folder keeps what has to be
uploaded, within the limits of the spool, and the mirror catches up later. What a dead segmenter leaves behind is uploaded by
the ``exchange`` of its broadcast.

An uploaded chunk's file is replaced by a sparse file of the same size, which takes no space, so that everything that counts
unpublished chunks (``spool.quota``, back-pressure on a source) still counts it until the run has published it.
"""

from __future__ import annotations

import fcntl
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from streamwave.errors import OutputError, SpoolError
from streamwave.spool.broadcast import BroadcastSpool
from streamwave.spool.journal import JOURNAL, ChunkLine, read_line
from streamwave.spool.remote.objects import PART_LINES, line_name, open_spool, part_name
from streamwave.storage.store import Store
from streamwave.untrusted import parse_json
from streamwave.util.files import replace_file

log = logging.getLogger("streamwave.spool")

#: In a session's folder: how many lines of its journal are stored, and the store's last error.
STATE = "mirror.json"
#: Lock of the one process that uploads a session.
LOCK = "mirror.lock"
#: Prefix of the sparse file that replaces an uploaded chunk.
STORED = "stored-"
POLL_S = 0.03
#: Journal lines whose chunks are uploaded concurrently while the mirror catches up.
BATCH = 4
#: Back-off after the store has refused: it starts with the first value and doubles up to the second.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 4.0
#: How long a segmenter keeps uploading after the end of its source; what is left then is uploaded by the exchange.
LINGER_S = 3.0


class SessionMirror:
    """Uploads one session from ``folder`` to ``store``, which is that of its broadcast. Requires ``hold_session``."""

    def __init__(self, folder: Path, store: Store, pool: ThreadPoolExecutor) -> None:
        self.folder, self._store, self._pool = folder, store, pool
        self._count, self.whole = mirrored(folder)
        self._offset: int | None = None
        self._recent: list[bytes] = []  # since the last line whose number is a multiple of PART_LINES

    def step(self) -> bool:
        """Upload the next lines and their chunks. Returns whether there were any.

        Raises:
            OutputError: the store refused; nothing is lost, and the next call retries.
        """
        if len(self._recent) == PART_LINES:  # the store refused the part in an earlier step
            self._store_part()
        lines = self._next_lines()
        if not lines:
            return False
        files = [name for line in lines for name in chunk_files(line)]
        list(self._pool.map(self._store_file, files))
        for line in lines:
            self._store.put(line_name(self.folder.name, self._count), line)
            self._recent.append(line)
            self._count += 1
            self._offset = (self._offset or 0) + len(line) + 1
            self.whole = line.startswith(b'{"type":"end"')
            if self._count % PART_LINES == 0:
                self._store_part()
            self._note("")
        return True

    def _next_lines(self) -> list[bytes]:
        try:
            with (self.folder / JOURNAL).open("rb") as file:
                if self._offset is None:
                    before = [next(file) for _ in range(self._count)]
                    self._offset = sum(map(len, before))
                    self._recent = [line[:-1] for line in before[self._count - self._count % PART_LINES :]]
                file.seek(self._offset)
                lines = file.read().split(b"\n")[:-1]
        except (FileNotFoundError, StopIteration):
            return []
        return lines[:BATCH]

    def _store_file(self, name: str) -> None:
        path = self.folder / name
        try:
            data = path.read_bytes()
        except FileNotFoundError:  # uploaded before
            return
        self._store.put(f"{self.folder.name}/{name}", data)
        with suppress(OSError), path.with_name(STORED + name).open("wb") as file:
            file.truncate(len(data))
        path.unlink(missing_ok=True)

    def _store_part(self) -> None:
        number = self._count // PART_LINES - 1
        self._store.put(part_name(self.folder.name, number), b"".join(line + b"\n" for line in self._recent))
        self._recent = []
        # A run that reads single lines is never that far behind, and if it is, it reads the part.
        old = range((number - 2) * PART_LINES, (number - 1) * PART_LINES) if number >= 2 else range(0)
        list(self._pool.map(self._store.delete, [line_name(self.folder.name, line) for line in old]))

    def _note(self, error: str) -> None:
        state = {"lines": self._count, "whole": self.whole, "error": error}
        with suppress(OSError):  # then the lines are uploaded again
            replace_file(self.folder / STATE, json.dumps(state).encode())

    def failed(self, error: str) -> None:
        """Record why nothing can be uploaded at the moment."""
        self._note(error)


def _is_unexpected(error: Exception) -> bool:
    return not isinstance(error, OutputError | OSError)


def chunk_files(line: bytes) -> list[str]:
    """Names of the chunk files in a journal line."""
    try:
        record = read_line(line)
    except SpoolError:  # reported by the reader of the journal
        return []
    if not isinstance(record, ChunkLine):
        return []
    return [name for name in (record.chunk.video_file, record.chunk.audio_file) if name]


def mirrored(folder: Path) -> tuple[int, bool]:
    """The number of a session's journal lines that are stored, and whether its end record is among them."""
    state = _state(folder)
    return int(state.get("lines") or 0), bool(state.get("whole"))


def mirror_trouble(folder: Path) -> str:
    """The store's last error; empty if an upload has succeeded since."""
    return str(_state(folder).get("error") or "")


def _state(folder: Path) -> dict[str, Any]:
    try:
        found = parse_json((folder / STATE).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def clear_published(folder: Path, needed: int) -> None:
    """Delete the local files of chunks before number ``needed``."""
    with suppress(OSError):
        for path in folder.iterdir():
            number = path.name.removeprefix(STORED).partition(".")[0]
            if number.isdigit() and int(number) < needed:
                path.unlink(missing_ok=True)


@contextmanager
def hold_session(folder: Path) -> Iterator[bool]:
    """Hold the upload lock of a session; yields False if another process holds it."""
    lock = _hold(folder)
    try:
        yield lock is not None
    finally:
        if lock is not None:
            lock.close()


def _hold(folder: Path) -> IO[bytes] | None:
    lock = (folder / LOCK).open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    return lock


class Mirror:
    """The upload thread of a segmenter; ``folders`` returns the sessions that it has written so far."""

    def __init__(self, url: str, options: Mapping[str, Any], folders: Callable[[], list[Path]]) -> None:
        self._url, self._options, self._folders = url, options, folders
        self._last = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)
        self._end_at = float("inf")
        self._thread.start()

    def finish(self, limit_s: float) -> None:
        """Upload the rest, for at most ``limit_s``; nothing more will be received."""
        self._end_at = time.monotonic() + limit_s
        self._last.set()
        self._thread.join(limit_s)

    def _run(self) -> None:
        pause_s, mirrors = FIRST_PAUSE_S, dict[Path, tuple[SessionMirror, IO[bytes]]]()
        store: Store | None = None
        with ThreadPoolExecutor(BATCH, thread_name_prefix="mirror") as pool:
            while time.monotonic() < self._end_at:
                last = self._last.is_set()
                try:
                    store = store or open_spool(self._url, self._options)
                    for folder in self._folders():
                        if folder not in mirrors and (lock := _hold(folder)) is not None:
                            mirrors[folder] = SessionMirror(folder, store, pool), lock
                    moved = [mirror.step() for mirror, _ in mirrors.values() if not mirror.whole]
                    pause_s = FIRST_PAUSE_S
                except Exception as error:  # the thread must survive any error
                    if pause_s == FIRST_PAUSE_S:
                        log.warning("received chunks cannot be uploaded yet: %s", error, exc_info=_is_unexpected(error))
                    for mirror, _ in mirrors.values():
                        if not mirror.whole:
                            mirror.failed(str(error))
                    self._wait(pause_s)
                    pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                    continue
                if last and not any(moved):
                    break
                if not any(moved):
                    self._wait(POLL_S)
        for _, lock in mirrors.values():
            lock.close()

    def _wait(self, wait_s: float) -> None:
        if self._last.is_set():
            time.sleep(max(0.0, min(wait_s, self._end_at - time.monotonic())))
        else:
            self._last.wait(wait_s)


@contextmanager
def mirroring(session: Path, options: Mapping[str, Any], folders: Callable[[], list[Path]]) -> Iterator[None]:
    """Upload ``session`` and those that follow it, if the spool of its broadcast is in a store."""
    try:
        url = BroadcastSpool(session.parent).info().spool
    except SpoolError:  # a file, which has no broadcast
        url = ""
    mirror = Mirror(url, options, folders) if url else None
    try:
        yield
    finally:
        if mirror is not None:
            mirror.finish(LINGER_S)


def store_rest(folder: Path, store: Store) -> None:
    """Upload what a dead segmenter has left in a session.

    Raises:
        OutputError: the store refused; the call can be repeated.
    """
    with hold_session(folder) as held, ThreadPoolExecutor(BATCH, thread_name_prefix="rest") as pool:
        if not held:
            return
        mirror = SessionMirror(folder, store, pool)
        try:
            while not mirror.whole and mirror.step():
                pass
        except OutputError as error:
            mirror.failed(str(error))
            raise
