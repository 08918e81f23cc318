"""The end of a session whose segmenter is gone without a word: its journal is given what it lacks, and its end record."""

from __future__ import annotations

import contextlib
import logging
import time
from pathlib import Path

from streamwave.errors import SpoolError
from streamwave.spool.journal import JOURNAL, ChunkLine, EndRecord, JournalWriter
from streamwave.spool.recovery import left_chunks
from streamwave.util.files import fsync_folder

log = logging.getLogger("streamwave.spool")


def end_journal(session: Path, reason: str, error: str | None, *, as_last_written: bool = False) -> bool:
    """Give a journal that nobody writes its end record; False if somebody writes it after all, or it has its end.

    Chunks that were received and only lack their line get it first (``recovery``). The end is now; ``as_last_written``:
    when the journal was last written.

    Raises:
        OSError: it cannot be written.
    """
    with contextlib.suppress(SpoolError):
        writer = JournalWriter(session, stoppable=False)
        try:
            journal = session / JOURNAL
            ended_ns = journal.stat().st_mtime_ns if as_last_written else time.time_ns()
            _cut_torn_line(journal)
            _take_in_left_chunks(writer)
            writer.append(EndRecord(reason=reason, error=error, ended_unix_ms=ended_ns // 1_000_000))
            fsync_folder(session)  # the journal may be new
        finally:
            writer.close()
        return True
    return False


def _take_in_left_chunks(writer: JournalWriter) -> None:
    """Journal what is on disk; whatever is wrong with it, the session still gets its end."""
    try:
        for record in left_chunks(writer.folder):
            writer.append(ChunkLine(chunk=record))
    except (OSError, SpoolError) as error:
        log.warning("%s: what was received last is not taken in: %s", writer.folder, error)


def _cut_torn_line(journal: Path) -> None:
    """Take away a last line that was cut off by the crash: what is appended must begin a line of its own."""
    with journal.open("r+b") as file:
        data = file.read()
        file.truncate(data.rfind(b"\n") + 1)
