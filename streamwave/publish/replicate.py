"""How an output that is behind gets what another output has: chunk by chunk, or the DVR window as a whole.

If a channel keeps only its DVR window, then by the time an output is back, the chunks that it lacks may be deleted at every
output, and their lines dropped from the ledgers. Such an output copies what the other one holds now.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

from streamwave.errors import OutputError
from streamwave.layout import init_name, segment_name
from streamwave.manifest.ledger import Ledger
from streamwave.manifest.lines import ChunkLine, EndLine, InfoLine, PeriodLine
from streamwave.manifest.names import named_objects
from streamwave.publish.additions import Addition
from streamwave.storage.store import Store

#: Objects of a window that are read and written at the same time.
PARALLEL = 8


class Published(Protocol):
    """The part of a publication that copying needs."""

    lock: Any  # reentrant
    store: Store
    ledger: Ledger

    def describe(self, info: dict[str, str]) -> None:
        """Put the metadata ``info`` into the next manifest."""

    def take_over(self, addition: Addition) -> None:
        """Add part of another store's ledger, with its objects."""

    def replace_ledger(self, found: Ledger) -> None:
        """Publish ``found``, whose objects are in the store already, in place of the present ledger."""

    def finish(self) -> None:
        """Complete the broadcast."""


def copy_missing(mine: Published, other: Published, go_on: Callable[[], bool]) -> int:
    """Publish at ``mine`` what ``other`` has published and ``mine`` lacks; the number of chunks. ``go_on`` False ends it.

    Raises:
        OutputError: a store refused a request, or a segment is gone; no manifest names what is missing.
        FencedError: another run publishes this broadcast now.
    """
    header = mine.ledger.header
    only_window = header is not None and not header.keep and header.dvr_window_ms
    return _copy_window(mine, other, go_on) if only_window else _copy_chunks(mine, other, go_on)


def _copy_chunks(mine: Published, other: Published, go_on: Callable[[], bool]) -> int:
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
                    mine.take_over(_addition(mine, line, other.store))
                copied += isinstance(line, ChunkLine)
    return copied


def _addition(mine: Published, line: PeriodLine | ChunkLine, source: Store) -> Addition:
    """``line`` with its objects, which are read from ``source``."""

    def read(name: str) -> bytes:
        data = source.get(name)
        if data is None:
            raise _lacking(source, name, mine.store)
        return data

    return Addition(tuple((name, partial(read, name)) for name in _objects(mine.ledger, line)), (line,))


def _objects(ledger: Ledger, line: PeriodLine | ChunkLine) -> list[str]:
    if isinstance(line, PeriodLine):
        return [init_name(line.name, track.rendition.name) for track in line.tracks]
    period = ledger.periods[-1].name
    return [segment_name(period, name, s[0]) for name, segments in line.segments.items() for s in segments]


def _copy_window(mine: Published, other: Published, go_on: Callable[[], bool]) -> int:
    with mine.lock:
        before = mine.ledger
        found = _copied_window(before, mine.store, other.store, go_on)
        if found is None:
            return 0
        mine.replace_ledger(found)
        return found.chunk_count - before.chunk_count


def _copied_window(mine: Ledger, store: Store, source: Store, go_on: Callable[[], bool]) -> Ledger | None:
    """Copy all that the ledger at ``source`` names to ``store``; that ledger, moved there and not saved yet.

    None if there is nothing new, or ``go_on``, which is asked before each object, says no.
    """
    assert mine.timeline is not None
    there, tried = named_objects(mine.timeline), set[str]()

    def copy(name: str) -> None:
        data = source.get(name) if go_on() else None
        if data is not None:
            store.put(name, data)
            there.add(name)

    while go_on():
        # Meanwhile the window moves on at the source, and what has left it is deleted; each round is shorter than the last.
        found = Ledger.load(source, without_end=True)
        if found.timeline is None or found.chunk_count <= mine.chunk_count:
            return None
        named = named_objects(found.timeline)
        missing = named - there
        if not missing:
            return found.moved_to(mine, sorted(there - named))
        if lost := missing & tried:
            raise _lacking(source, min(lost), store)
        tried |= missing
        with ThreadPoolExecutor(PARALLEL, thread_name_prefix="copy") as pool:
            list(pool.map(copy, sorted(missing)))
    return None


def _lacking(source: Store, name: str, store: Store) -> OutputError:
    return OutputError(f"{source.url} lacks {name}, so {store.url} cannot get it from there")
