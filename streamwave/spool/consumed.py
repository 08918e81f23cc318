"""Chunks that a run needs no more, noted beside them where somebody has to know: in the replica of a spool in a store."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

FILE = "forgotten"


def expect_notes(session: Path) -> None:
    """From now on, chunks of the session that are forgotten are noted."""
    (session / FILE).touch()


def note_forgotten(session: Path, number: int) -> None:
    """Note that nobody needs chunk ``number`` any more, if somebody wants to know."""
    with suppress(OSError):
        # Not made: where nobody has asked, nothing is noted. Several threads may append at once.
        handle = os.open(session / FILE, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(handle, b"%d\n" % number)
        finally:
            os.close(handle)


class Notes:
    """Reads the notes of one session, each once."""

    def __init__(self, session: Path) -> None:
        self._path = session / FILE
        self._offset = 0

    def read(self) -> list[int]:
        """The numbers that came since the last call."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except OSError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [int(number) for number in whole.split()]
