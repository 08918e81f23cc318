"""Fuzzes one parser in a separate process: ``python -m tests.fuzz.guided NAME BOARD --seed …``.

With atheris, inputs are guided by code coverage; without it (it has wheels for few systems), they are mutated at random.
Every input is written to the board, a file that the parent process reads, before it is tried, so that the parent knows which
input has killed the process or hangs.
"""

from __future__ import annotations

import argparse
import contextlib
import mmap
import os
import random
import resource
import struct
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from tests.fuzz.mutate import mutate, mutate_words
from tests.fuzz.parsers import CORPUS, MAX_BYTES, Parser, parsers

#: Number of inputs, whether one is being tried, its length, peak memory in kB; the input itself follows.
HEAD = struct.Struct("=QQQQ")
BOARD_BYTES = HEAD.size + MAX_BYTES
#: Memory that one parser may use in addition to that of the interpreter and its libraries.
ROOM_BYTES = 1536 * 1024 * 1024
#: Maximum number of findings reported; findings raised at the same place count as one.
_MOST = 20


class _Board:
    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), BOARD_BYTES)
        self.inputs = 0

    def begin(self, data: bytes) -> None:
        self._map[HEAD.size : HEAD.size + len(data)] = data
        HEAD.pack_into(self._map, 0, self.inputs, 1, len(data), _most_kb())

    def done(self) -> None:
        self.inputs += 1
        HEAD.pack_into(self._map, 0, self.inputs, 0, 0, _most_kb())


def _most_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class _Tried:
    """Tries inputs, and saves each kind of failure once, in ``folder``."""

    def __init__(self, parser: Parser, board: _Board, folder: Path) -> None:
        self._parser, self._board, self._folder = parser, board, folder
        self._seen: set[str] = set()

    def __call__(self, data: bytes) -> None:
        data = data[:MAX_BYTES]
        self._board.begin(data)
        try:
            self._parser(data)
        except Exception as error:
            self._fail(data, error)
        self._board.done()

    def _fail(self, data: bytes, error: Exception) -> None:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "fuzz/guided" not in frame.filename]
        where = f"{type(error).__name__} at {Path(frames[-1].filename).name}:{frames[-1].lineno}"
        if where not in self._seen and len(self._seen) < _MOST:
            self._seen.add(where)
            path = self._folder / f"crash-{len(self._seen)}"
            path.write_bytes(data)
            path.with_suffix(".txt").write_text("".join(traceback.format_exception(error)), "utf-8", "replace")


def _limit_memory() -> None:
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + ROOM_BYTES, taken + ROOM_BYTES))


def options() -> argparse.Namespace:
    """Parse the arguments, which come from the parent process."""
    words = argparse.ArgumentParser()
    words.add_argument("parser")
    words.add_argument("board", type=Path)
    words.add_argument("findings", type=Path)
    words.add_argument("--seed", type=int, required=True)
    words.add_argument("--inputs", type=int, default=1_000_000_000)
    words.add_argument("--seconds", type=int, default=86_400)
    return words.parse_args()


def run(parser: Parser, given: argparse.Namespace, atheris: Any) -> int:
    """Try the corpus and then mutations of it, until the budget is used up."""
    tried = _Tried(parser, _Board(given.board), given.findings)
    _limit_memory()
    for data in parser.seeds():
        tried(data)
    if atheris is None:
        return _at_random(parser, tried, given)
    with tempfile.TemporaryDirectory(prefix="streamwave-fuzz-") as found:
        flags = [
            f"-seed={given.seed % (1 << 32) or 1}", f"-runs={given.inputs}", f"-max_total_time={given.seconds}",
            f"-max_len={MAX_BYTES}", "-rss_limit_mb=0", "-verbosity=0", f"-artifact_prefix={given.findings}/",
        ]  # fmt: skip

        def damaged(data: bytes, most: int, seed: int) -> bytes:
            chance = random.Random(seed)
            new: bytes = mutate_words(data, chance) if chance.randrange(3) == 0 else atheris.Mutate(data, most)
            return new[:most]

        mutator = damaged if parser.text else None
        atheris.Setup([sys.argv[0], *flags, found, str(CORPUS / parser.name)], tried, custom_mutator=mutator)
        atheris.Fuzz()
    return 0


def _at_random(parser: Parser, tried: _Tried, given: argparse.Namespace) -> int:
    chance, seeds = random.Random(given.seed), parser.seeds() or [b""]
    end = time.monotonic() + given.seconds
    for _ in range(given.inputs):
        if time.monotonic() > end:
            break
        damage = mutate_words if parser.text and chance.randrange(2) else mutate
        tried(damage(chance.choice(seeds), chance))
    return 0


def main() -> int:
    """Run the requested parser."""
    given = options()
    try:
        import atheris
    except ImportError:
        atheris = None
    with atheris.instrument_imports(include=["streamwave", "services"]) if atheris else contextlib.nullcontext():
        parser = parsers()[given.parser]
    return run(parser, given, atheris)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
