"""Follow a spool while it is being written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from streamwave.errors import SourceError, SpoolError
from streamwave.model import ChunkRecord
from streamwave.spool.advice import Advice
from streamwave.spool.journal import (
    AdviceLine,
    ChunkLine,
    EndRecord,
    JournalReader,
    OpenRecord,
    was_opened,
    writer_alive,
)

POLL_S = 0.03
#: Time that a journal may be without a writer before the session counts as cut off.
ORPHAN_S = 5.0
#: The same before the first segmenter has started, which takes long on a busy machine.
START_S = 30.0


def patience_s(folder: Path) -> float:
    """How long the session in ``folder`` may be without a segmenter."""
    return ORPHAN_S if was_opened(folder) else START_S


class Follower:
    """Reads a session's journal from its start. ``opened``, ``ended`` and ``advice`` are set as their records are read."""

    def __init__(self, folder: Path, *, alive: Callable[[], bool] | None = None) -> None:
        self.folder = folder
        self.opened: OpenRecord | None = None
        self.ended: EndRecord | None = None
        self.advice: list[Advice] = []
        self._reader = JournalReader(folder)
        self._alive = alive or (lambda: writer_alive(folder))
        self._ready: list[ChunkRecord] = []
        self._orphan_since: float | None = None

    def poll(self) -> bool:
        """Read new records. Returns whether there were any."""
        lines = self._reader.read()
        for line in lines:
            if isinstance(line, OpenRecord):
                self.opened = line
            elif isinstance(line, ChunkLine):
                self._ready.append(line.chunk)
            elif isinstance(line, AdviceLine):
                self.advice.append(line.advice)
            else:
                self.ended = line
        return bool(lines)

    def wait_open(self, timeout_s: float) -> OpenRecord:
        """Wait for the first record and return it.

        Raises:
            SourceError: the segmenter could not read the source; the message is the segmenter's.
            SpoolError: no record was written within ``timeout_s``.
        """
        end = time.monotonic() + timeout_s
        while self.opened is None:
            if not self.poll():
                if self.ended is not None:
                    raise SourceError(self.ended.error or "the source ended before its first video frame")
                self._check_writer()
                if time.monotonic() > end:
                    raise SpoolError(f"nothing was received within {timeout_s:g} s; check that the source is sending")
                time.sleep(POLL_S)
        return self.opened

    def chunks(self, tick: Callable[[], None] = lambda: None) -> Iterator[ChunkRecord]:
        """Yield every chunk in order, as it is journaled, until the journal ends. ``tick`` is called while waiting.

        Raises:
            SpoolError: the segmenter died without closing the journal.
        """
        while True:
            while self._ready:
                yield self._ready.pop(0)
            if self.ended is not None:
                return
            if self.poll():
                self._orphan_since = None
            else:
                self._check_writer()
                tick()
                time.sleep(POLL_S)

    def _check_writer(self) -> None:
        if self._alive():
            self._orphan_since = None
            return
        now = time.monotonic()
        if self._orphan_since is None:
            self._orphan_since = now
        elif now - self._orphan_since > patience_s(self.folder) and not self.poll():
            how = "died; what it had received is kept in the spool" if was_opened(self.folder) else "never started"
            raise SpoolError(f"the segmenter of {self.folder.name} {how}")
