"""A frozen picture: the last one, shown on while audio goes on without pictures, in chunks that share one file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from streamwave.receive.chunkfile import VideoChunk
from streamwave.spool.journal import chunk_name
from streamwave.util.files import link_file

#: Suffix of the file that is kept for chunks to come; no chunk has it.
_KEPT = ".held"


@dataclass
class FrozenChunk:
    """A chunk of one frozen picture: the last one that its file shows before ``start_ms``, less ``later_ms``.

    ``held`` is the number of the first chunk that shows the picture, ``lead`` the number of pictures in the file.
    """

    number: int
    path: Path
    start_ms: int
    later_ms: int
    held: int
    lead: int
    starts_ms: list[int] = field(default_factory=list)
    last_arrival_unix_ms: int = 0

    def abandon(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)


class FrozenPicture:
    """The last picture of the closed chunk ``before``, shown up to ``until_ms``. The file of ``before`` must still exist."""

    def __init__(self, before: VideoChunk, until_ms: int) -> None:
        self.before = before
        self.until_ms = until_ms
        self.path = before.path.with_suffix(_KEPT)
        self._shown_ms = max(before.starts_ms) + before.later_ms
        self._first: int | None = None
        link_file(before.path, self.path)

    def chunk(self, number: int, until_ms: int) -> FrozenChunk:
        """The next chunk, which shows the picture until ``until_ms``."""
        path = self.before.path.with_name(chunk_name(number, self.before.path.suffix[1:]))
        link_file(self.path, path)
        self._first = number if self._first is None else self._first
        start_ms, self.until_ms = self.until_ms, until_ms
        lead = len(self.before.starts_ms) + self.before.lead
        return FrozenChunk(number, path, start_ms, self._shown_ms - start_ms, self._first, lead)

    def end(self) -> None:
        """Remove the file that was kept: another picture has come, or none will."""
        self.path.unlink(missing_ok=True)
