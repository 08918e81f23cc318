"""How an output that is behind gets what another one has: chunk by chunk, or, where only a window is kept, that window.

Of a channel that keeps nothing but its DVR window, the chunks that an output lacks may be deleted everywhere by the time
that it is back, and the ledger's lines on them forgotten. So it takes over what the other one holds now.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from streamwave.errors import OutputError
from streamwave.layout import init_name, segment_name
from streamwave.manifest.ledger import Ledger
from streamwave.manifest.lines import ChunkLine, EndLine, InfoLine, PeriodLine
from streamwave.manifest.names import named_objects
from streamwave.storage.store import Store

#: Objects of a window that are read and written at the same time.
PARALLEL = 8


class Published(Protocol):
    """A publication, as far as copying needs it."""

    lock: Any  # a lock that may be taken again by the thread that has it
    store: Store
    ledger: Ledger

    def describe(self, info: dict[str, str]) -> None:
        """Have the next manifest say ``info`` of the broadcast."""

    def take_over(self, line: PeriodLine | ChunkLine, names: Sequence[str], source: Store) -> None:
        """Add a line of another ledger, whose objects ``names`` are read from ``source``."""

    def finish(self) -> None:
        """The broadcast is complete."""


def copy_chunks(mine: Published, other: Published, go_on: Callable[[], bool]) -> int:
    """Publish at ``mine`` line by line what ``other`` has published since; how many chunks. ``go_on`` is asked before each.

    Raises:
        OutputError: one of the two stores refused, or a segment is not there any more; nothing names what is missing.
        FencedError: another run publishes this broadcast now.
    """
    copied = 0
    while lines := mine.ledger.parts.lines_after(other.store):
        for line in lines:
            if not go_on():
                return copied
            with mine.lock:
                if isinstance(line, EndLine):
                    mine.finish()
                elif isinstance(line, InfoLine):
                    mine.describe(line.info)
                elif isinstance(line, PeriodLine | ChunkLine):
                    mine.take_over(line, _objects(mine.ledger, line), other.store)
                copied += isinstance(line, ChunkLine)
    return copied


def _objects(ledger: Ledger, line: PeriodLine | ChunkLine) -> list[str]:
    if isinstance(line, PeriodLine):
        return [init_name(line.name, track.rendition.name) for track in line.tracks]
    period = ledger.periods[-1].name
    return [segment_name(period, name, s[0]) for name, segments in line.segments.items() for s in segments]


def same_manifest(one: bytes, other: bytes | None) -> bool:
    """Whether two manifests differ in nothing but when they were written (``publishTime``, ISO/IEC 23009-1, 5.3.1.2)."""

    def undated(manifest: bytes) -> bytes:
        return re.sub(rb' publishTime="[^"]*"', b"", manifest, count=1)

    return other is not None and undated(one) == undated(other)


def copied_window(mine: Ledger, source: Store, go_on: Callable[[], bool]) -> Ledger | None:
    """Store at ``mine``'s place all that the ledger at ``source`` names; that ledger, for that place and not saved.

    None if there is nothing new, or ``go_on`` says no; it is asked before each object.

    Raises:
        OutputError: one of the two stores refused, or lacks what it names.
    """
    assert mine.timeline is not None
    there, tried = named_objects(mine.timeline), set[str]()

    def copy(name: str) -> None:
        data = source.get(name) if go_on() else None
        if data is not None:
            mine.parts.store.put(name, data)
            there.add(name)

    while go_on():
        # Meanwhile the window moves on there, and what has left it goes; each round is shorter than the one before.
        found = Ledger.load(source, without_end=True)
        if found.timeline is None or found.chunk_count <= mine.chunk_count:
            return None
        named = named_objects(found.timeline)
        missing = named - there
        if not missing:
            return found.moved_to(mine, sorted(there - named))
        if lost := missing & tried:
            raise OutputError(f"{source.url} lacks {min(lost)}, so {mine.parts.store.url} cannot get it from there")
        tried |= missing
        with ThreadPoolExecutor(PARALLEL, thread_name_prefix="copy") as pool:
            list(pool.map(copy, sorted(missing)))
    return None
