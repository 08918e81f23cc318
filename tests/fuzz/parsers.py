"""The parsers of the library that are fuzzed: each is a function of bytes that may raise only its documented errors.

Assertions in them are properties, such as: a reader reads back what the writer wrote; output is not longer than input. A
module whose name begins with ``parsers_`` registers its parsers when it is imported.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

#: Seed inputs, in one folder per parser.
CORPUS = Path(__file__).parent / "corpus"
#: Maximum size of an input in bytes: enough for everything in the corpus.
MAX_BYTES = 4096


@dataclass(frozen=True)
class Parser:
    """One parser. ``errors`` are its documented errors; ``text``: inputs are texts, whose words are mutated too."""

    name: str
    check: Callable[[bytes], None]
    errors: tuple[type[Exception], ...]
    text: bool = False

    def __call__(self, data: bytes) -> None:
        """Try one input; any exception is a finding."""
        with suppress(*self.errors):
            self.check(data)

    def seeds(self) -> list[bytes]:
        """The inputs of the corpus, in a fixed order."""
        return [path.read_bytes() for path in sorted((CORPUS / self.name).glob("*"))]


_parsers: dict[str, Parser] = {}


def parser(
    *errors: type[Exception], text: bool = False
) -> Callable[[Callable[[bytes], None]], Callable[[bytes], None]]:
    """Register a function as a parser under its name."""

    def register(check: Callable[[bytes], None]) -> Callable[[bytes], None]:
        name = check.__name__.strip("_")
        _parsers[name] = Parser(name, check, errors, text)
        return check

    return register


@cache
def parsers() -> dict[str, Parser]:
    """All parsers by name."""
    for path in sorted(Path(__file__).parent.glob("parsers_*.py")):
        importlib.import_module(f"tests.fuzz.{path.stem}")
    return dict(sorted(_parsers.items()))


def pieces(data: bytes) -> Iterator[bytes]:
    """``data`` in pieces, as a network may deliver it; the lengths are derived from the data."""
    at = 0
    while at < len(data):
        size = 1 + data[at] * 3
        yield data[at : at + size]
        at += size
