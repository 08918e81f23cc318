"""The spool of a session: a folder with chunk files and a journal, which is the record of what was received.

The journal is a file of JSON lines, each written and synced at once: ``open`` (the source and its frame grid), one
``chunk`` per closed chunk, ``advice`` to the publisher, and ``end``. A last line without a newline was cut off by a crash
and is ignored.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from streamwave.errors import SpoolError
from streamwave.model import CONTAINERS, ChunkRecord, Frozen, Rational, SourceInfo
from streamwave.spool.advice import Advice
from streamwave.spool.free_space import check_room, has_room
from streamwave.spool.info import INFO
from streamwave.util.files import fsync_folder
from streamwave.util.locks import holds, is_locked

JOURNAL = "journal.jsonl"
LOCK = "lock"
_LOCK_WAIT_S = 0.5
#: More than the length of any line of the journal.
_TAIL_BYTES = 64 * 1024
#: Reasons of an end record: the spool failed, the segmenter failed, or the stream has reached a limit.
SPOOL_FAILED = "spool failed"
LIMIT_REACHED = "limit reached"
SEGMENTER_FAILED = "segmenter failed"
#: Reason of an end record: the same connection continues as the next session of the broadcast.
CONTINUED = "continued"
#: Reasons of an end record: the connection continues in a new broadcast, which the caller has to start, because a broadcast
#: either has video throughout or has none.
PICTURES_BEGIN, PICTURES_GONE = "pictures begin", "pictures gone"
OTHER_KIND = (PICTURES_BEGIN, PICTURES_GONE)
#: Suffixes of the media files in a spool.
MEDIA_SUFFIXES = (*(f".{suffix}" for suffix in CONTAINERS), ".aac")
#: Folder of a broadcast's first session.
FIRST_SESSION = "000000"


class OpenRecord(Frozen):
    """First line: what is received. ``origin_unix_ms`` is the wall clock when the first frame arrived."""

    type: Literal["open"] = "open"
    source: SourceInfo
    rate: Rational | None
    sample_rate: int | None
    origin_unix_ms: int

    def properties(self) -> dict[str, str]:
        """Properties of the received stream, as text for display."""
        found: dict[str, str] = {}
        if self.source.video is not None:
            found["size"] = f"{self.source.video.width}x{self.source.video.height}"
            found["video"] = self.source.video.codec
        if self.source.video is not None and self.rate is not None:
            found["fps"] = str(self.rate)
        if self.source.audio is not None:
            found["audio"] = self.source.audio.codec
        return found


class ChunkLine(Frozen):
    """A chunk was closed and is durable."""

    type: Literal["chunk"] = "chunk"
    chunk: ChunkRecord


class EndRecord(Frozen):
    """Last line: no chunk will follow. ``error`` is None if the source ended or was stopped deliberately.

    ``ended_unix_ms`` is the wall clock at the end, from which the reconnect window is counted.
    """

    type: Literal["end"] = "end"
    reason: str
    error: str | None = None
    ended_unix_ms: int = 0


class AdviceLine(Frozen):
    """The segmenter noticed something that the publisher could improve."""

    type: Literal["advice"] = "advice"
    advice: Advice


Record = OpenRecord | ChunkLine | AdviceLine | EndRecord
_lines: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="type")])


def read_line(line: bytes) -> Record:
    """Parse a line of a journal.

    Raises:
        SpoolError: the line is not a valid record.
    """
    try:
        return _lines.validate_json(line)
    except ValidationError as error:
        raise SpoolError(f"a line of the journal is damaged: {error.errors()[0]['msg']}") from None


def following_folder(session: Path) -> Path:
    """The folder of the session after ``session``, by its number."""
    return session.with_name(f"{int(session.name) + 1:06d}")


def chunk_name(number: int, suffix: str) -> str:
    """Name of a chunk's file."""
    return f"{number:06d}.{suffix}"


def _take(lock: IO[bytes]) -> bool:
    """Take the exclusive lock. Waits a moment, because ``writer_alive`` briefly holds it too."""
    end = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        else:
            return True


class JournalWriter:
    """Appends to the journal of ``folder``. Only one process can; in others the constructor raises SpoolError.

    ``stoppable``: stop requests are sent to this process as a signal (see ``writer_pid``).
    """

    def __init__(self, folder: Path, *, stoppable: bool = True) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._lock: IO[bytes] = (folder / LOCK).open("a+b")
        if not _take(self._lock):
            self._lock.close()
            raise SpoolError(f"the spool {folder} is being written by another segmenter")
        if end_of(folder) is not None:
            # The session was ended before this segmenter started, and later sessions may exist.
            self._lock.close()
            raise SpoolError(f"the session in {folder} has ended; a new session needs a folder of its own")
        self._lock.truncate(0)
        if stoppable:
            self._lock.write(str(os.getpid()).encode())
        self._lock.flush()
        # Reading a file pauses instead if the consumer is slow; its spool has no broadcast.
        self._live = (folder.parent / INFO).exists()
        self._had_room = True
        self._refused: OSError | None = None
        self._last = -1
        self._file: IO[bytes] = (folder / JOURNAL).open("ab", buffering=0)

    def append(self, record: Record) -> None:
        """Write one line durably.

        Raises:
            OSError: the line could not be written, or a live stream has no room for a further chunk (see ``free_space``).
                After that every further chunk is refused too, so that chunk numbers stay contiguous.
        """
        if not isinstance(record, EndRecord):
            self._check_room(opening=isinstance(record, OpenRecord))
        elif self._refused is not None:
            self._drop_unrecorded()
        self._file.write(record.model_dump_json().encode() + b"\n")
        os.fsync(self._file.fileno())
        if isinstance(record, OpenRecord):
            fsync_folder(self.folder)
        elif isinstance(record, ChunkLine):
            self._last = record.chunk.number
        if self._live:
            self._had_room = has_room(self.folder)

    def _drop_unrecorded(self) -> None:
        """Delete the files of refused chunks, to free their space."""
        for path in self.folder.iterdir():
            if path.suffix in MEDIA_SUFFIXES and path.stem.isdigit() and int(path.stem) > self._last:
                path.unlink(missing_ok=True)

    def _check_room(self, opening: bool) -> None:
        if self._refused is None and self._live and (opening or not self._had_room):
            try:
                check_room(self.folder)
            except OSError as error:
                self._refused = error
        if self._refused is not None:
            raise self._refused

    def close(self) -> None:
        """Release the journal."""
        self._file.close()
        self._lock.close()


def writer_alive(folder: Path) -> bool:
    """Whether a segmenter holds the lock of this spool."""
    return is_locked(folder / LOCK)


def writer_pid(folder: Path) -> int | None:
    """Process ID of the segmenter that holds this spool's lock, or None. The kernel's lock table rules out a stale ID."""
    try:
        pid = int((folder / LOCK).read_bytes())
    except (OSError, ValueError):
        return None
    return pid if holds(pid, folder / LOCK) else None


def was_opened(folder: Path) -> bool:
    """Whether a segmenter has ever held this spool."""
    return (folder / LOCK).exists()


def _tail(folder: Path) -> list[bytes]:
    """The last complete lines of the journal; the first of them may lack its beginning."""
    try:
        with (folder / JOURNAL).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            # The last part is empty, or an incomplete line left by a crash.
            return file.read().split(b"\n")[:-1]
    except OSError:
        return []


def received_ms(folder: Path) -> int:
    """How much of a session has been journaled, in milliseconds since its origin. Reads only the tail."""
    for line in reversed(_tail(folder)):
        if line.startswith(b'{"type":"chunk"'):
            with suppress(ValidationError):
                return ChunkLine.model_validate_json(line).chunk.next_ms
    return 0


def end_of(folder: Path) -> EndRecord | None:
    """The journal's end record, if there is one. Reads only the tail."""
    lines = _tail(folder)
    if not lines or not lines[-1].startswith(b'{"type":"end"'):
        return None
    try:
        return EndRecord.model_validate_json(lines[-1])
    except ValidationError:
        return None


def open_record_of(folder: Path) -> OpenRecord | None:
    """The journal's open record, if there is one. Reads only the first line."""
    try:
        with (folder / JOURNAL).open("rb") as file:
            return OpenRecord.model_validate_json(file.readline())
    except (OSError, ValidationError):
        return None


class JournalReader:
    """Reads the journal incrementally."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL
        self._offset = 0

    def read(self) -> list[Record]:
        """The records added since the last call.

        Raises:
            SpoolError: a complete line is not a valid record.
        """
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        end = data.rfind(b"\n") + 1
        self._offset += end
        try:
            return [_lines.validate_json(line) for line in data[:end].splitlines()]
        except ValidationError as error:
            raise SpoolError(f"the journal {self._path} is damaged: {error.errors()[0]['msg']}") from None
