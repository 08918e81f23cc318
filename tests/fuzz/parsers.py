"""What is fuzzed of the library: each parser as a function of bytes that may raise the errors it documents, and no others.

An assertion in one of them is a property: what a writer makes, its reader reads back; what is read is not longer than what
was there. A module whose name begins with ``parsers_`` adds its parsers by being imported.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

#: Inputs that are tried first, in a folder for each parser.
CORPUS = Path(__file__).parent / "corpus"
#: Bytes of an input at most: enough for all that is in the corpus.
MAX_BYTES = 4096


@dataclass(frozen=True)
class Parser:
    """One parser. ``errors`` are those that it documents; ``text``: words are worth being replaced."""

    name: str
    check: Callable[[bytes], None]
    errors: tuple[type[Exception], ...]
    text: bool = False

    def __call__(self, data: bytes) -> None:
        """Try one input; whatever this raises is a finding."""
        with suppress(*self.errors):
            self.check(data)

    def seeds(self) -> list[bytes]:
        """The inputs of the corpus, in a fixed order."""
        return [path.read_bytes() for path in sorted((CORPUS / self.name).glob("*"))]


_parsers: dict[str, Parser] = {}


def parser(
    *errors: type[Exception], text: bool = False
) -> Callable[[Callable[[bytes], None]], Callable[[bytes], None]]:
    """Register a function as a parser of its own name."""

    def register(check: Callable[[bytes], None]) -> Callable[[bytes], None]:
        name = check.__name__.strip("_")
        _parsers[name] = Parser(name, check, errors, text)
        return check

    return register


@cache
def parsers() -> dict[str, Parser]:
    """All of them by their names."""
    for path in sorted(Path(__file__).parent.glob("parsers_*.py")):
        importlib.import_module(f"tests.fuzz.{path.stem}")
    return dict(sorted(_parsers.items()))


def pieces(data: bytes) -> Iterator[bytes]:
    """``data`` as a network may deliver it: in pieces whose lengths follow from it."""
    at = 0
    while at < len(data):
        size = 1 + data[at] * 3
        yield data[at : at + size]
        at += size
