"""Ends the journal of a session whose segmenter died: adds the missing chunk records and the end record."""

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
    """Append the end record to a journal without a writer. Returns False if there is a writer or an end record after all.

    Chunks that were received but not journaled are added first (``recovery``). The recorded end time is the current time,
    or with ``as_last_written`` the time of the journal's last write.

    Raises:
        OSError: the journal cannot be written.
    """
    with contextlib.suppress(SpoolError):
        writer = JournalWriter(session, stoppable=False)
        try:
            journal = session / JOURNAL
            ended_ns = journal.stat().st_mtime_ns if as_last_written else time.time_ns()
            _cut_torn_line(journal)
            _journal_left_chunks(writer)
            writer.append(EndRecord(reason=reason, error=error, ended_unix_ms=ended_ns // 1_000_000))
            fsync_folder(session)  # the journal may be new
        finally:
            writer.close()
        return True
    return False


def _journal_left_chunks(writer: JournalWriter) -> None:
    """Journal the chunks left on disk. A failure is only logged, because the session must get its end record."""
    try:
        for record in left_chunks(writer.folder):
            writer.append(ChunkLine(chunk=record))
    except (OSError, SpoolError) as error:
        log.warning("%s: the last received chunks could not be recovered: %s", writer.folder, error)


def _cut_torn_line(journal: Path) -> None:
    """Remove an incomplete last line, left by a crash, so that the next record starts on a line of its own."""
    with journal.open("r+b") as file:
        data = file.read()
        file.truncate(data.rfind(b"\n") + 1)
