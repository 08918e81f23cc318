"""Notes on chunks that a run no longer needs. Written only in a replica, so that the chunks can be deleted in the store."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

FILE = "forgotten"


def expect_notes(session: Path) -> None:
    """Start recording the session's chunks that are no longer needed."""
    (session / FILE).touch()


def note_forgotten(session: Path, number: int) -> None:
    """Record that chunk ``number`` is no longer needed, if ``expect_notes`` was called for the session."""
    with suppress(OSError):
        # Without O_CREAT, so that nothing is written unless the file exists. O_APPEND lets several threads write.
        handle = os.open(session / FILE, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(handle, b"%d\n" % number)
        finally:
            os.close(handle)


class Notes:
    """Reads the notes of one session incrementally."""

    def __init__(self, session: Path) -> None:
        self._path = session / FILE
        self._offset = 0

    def read(self) -> list[int]:
        """The chunk numbers added since the last call."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except OSError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [int(number) for number in whole.split()]
