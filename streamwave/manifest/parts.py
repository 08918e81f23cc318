"""The objects that a ledger is stored in: its parts.

A part holds the lines of at most ``PART_CHUNKS`` chunks, so that adding a line rewrites an object of bounded size, also on
stores that cannot append.
"""

from __future__ import annotations

from streamwave.errors import OutputError
from streamwave.layout import ledger_name
from streamwave.manifest.lines import AnyLine, ChunkLine, parse_line, texts_of
from streamwave.storage.store import Store

PART_CHUNKS = 256


class LedgerParts:
    """The parts of one ledger at ``store``. Lines are added to part ``current``.

    Part 0 always counts. Of the parts after it, those before ``first`` were replaced by a ``StateLine`` in part 0.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.first, self.current = 1, 0
        self._texts: list[str] = []
        self._chunks = 0

    @property
    def names(self) -> list[str]:
        """Names of the objects that the ledger consists of."""
        return [ledger_name(part) for part in range(self.current + 1)]

    @property
    def replaced(self) -> list[str]:
        """Names of the parts between part 0 and the current one, which a new ``StateLine`` replaces."""
        return [ledger_name(part) for part in range(self.first, self.current)]

    @property
    def is_full(self) -> bool:
        """Whether the next chunk belongs into a new part."""
        return self._chunks >= PART_CHUNKS

    def begin(self, part: int) -> None:
        """Make ``part``, which is empty so far, the current one."""
        self.current, self._texts, self._chunks = part, [], 0

    def add(self, text: str, line: AnyLine) -> None:
        """Add ``line``, written as ``text``, to the current part; ``save`` stores it."""
        self._texts.append(text)
        self._chunks += isinstance(line, ChunkLine)

    def save(self) -> None:
        """Store the current part."""
        self._put(self.current, self._texts)

    def replace_earlier(self, *texts: str) -> None:
        """Store ``texts`` as part 0, in place of all that was written before the current part."""
        self._put(0, texts)
        self.first = self.current

    def move_to(self, before: LedgerParts) -> list[str]:
        """Continue at the store of ``before``, in a part that neither of the two has written.

        Returns the names of the parts of ``before`` that do not count any more once this ledger is saved there.
        """
        replaced = [ledger_name(part) for part in range(before.first, before.current + 1) if part]
        self.store = before.store
        self.begin(max(self.current, before.current) + 1)
        self.first = self.current
        return replaced

    def lines_after(self, store: Store) -> list[AnyLine]:
        """The lines that follow there, up to the end of a part, if the ledger at ``store`` is longer than this one.

        Raises:
            OutputError: the two ledgers are of different broadcasts, or the one at ``store`` cannot be read.
        """
        for part, known in ((self.current, self._texts), (self.current + 1, [])):
            data = store.get(ledger_name(part))
            if data is None:
                continue
            texts = texts_of(data)
            # The first lines may be written differently; the caller has compared what they say.
            skip = 1 if part == 0 else 0
            if not _same(texts[skip : len(known)], known[skip : len(texts)], store):
                raise OutputError(f"{self.store.url} and {store.url} hold different broadcasts; remove one")
            if len(texts) > len(known):
                return [parse_line(text, store) for text in texts[len(known) :]]
        return []

    def _put(self, part: int, texts: list[str] | tuple[str, ...]) -> None:
        self.store.put(ledger_name(part), "".join(f"{text}\n" for text in texts).encode())


def _same(theirs: list[str], mine: list[str], store: Store) -> bool:
    """Whether two ledgers record the same. Versions write lines differently, and runs differ in the sizes of segments."""

    def essence(text: str) -> AnyLine:
        line = parse_line(text, store)
        if not isinstance(line, ChunkLine):
            return line
        places = {name: tuple((at, length, 0) for at, length, _ in found) for name, found in line.segments.items()}
        return ChunkLine(number=line.number, segments=places)

    return theirs == mine or [essence(text) for text in theirs] == [essence(text) for text in mine]
