"""The suites of ``python -m tests.fuzz``. Every module ``suite_NAME.py`` in this folder is imported, and registers its suite:

    @suite("name")
    def name(budget: Budget, findings: Findings) -> Iterator[Row]: …

A suite yields a row for each of its targets, and stays within ``budget``.
"""

from __future__ import annotations

import importlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.report import Findings, Row


@dataclass(frozen=True)
class Budget:
    """The time, or the number of inputs (per endpoint and file; for all parsers together), for which a suite runs.

    ``target``: run only targets whose name contains this.
    """

    seed: int
    seconds: float | None = None
    inputs: int | None = None
    target: str = ""

    def wants(self, name: str) -> bool:
        """Whether to run the target."""
        return self.target in name

    def shared(self, parts: int) -> Budget:
        """The budget of one of ``parts`` equal parts."""
        return Budget(
            self.seed,
            self.seconds / parts if self.seconds is not None else None,
            -(-self.inputs // parts) if self.inputs is not None else None,
            self.target,
        )

    def steps(self) -> Iterator[random.Random]:
        """Yield a random generator for each input until the budget is used up; each is seeded by the seed and its number."""
        end = time.monotonic() + self.seconds if self.seconds is not None else None
        number = 0
        while (end is None or time.monotonic() < end) and (self.inputs is None or number < self.inputs):
            yield random.Random(f"{self.seed}/{number}")
            number += 1


Suite = Callable[[Budget, Findings], Iterator[Row]]
_suites: dict[str, Suite] = {}


def suite(name: str) -> Callable[[Suite], Suite]:
    """Register a function under ``name``."""

    def register(run: Suite) -> Suite:
        _suites[name] = run
        return run

    return register


def suites() -> dict[str, Suite]:
    """All of them by their names."""
    for path in sorted(Path(__file__).parent.glob("suite_*.py")):
        importlib.import_module(f"tests.fuzz.{path.stem}")
    return _suites
