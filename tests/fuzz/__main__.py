"""``make fuzz``: runs every suite for a limited time and prints a table of findings. Exit status 1 if there are any."""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from tests.fuzz.report import Findings, Row, table
from tests.fuzz.suites import Budget, suites

FOLDER = Path("var/fuzz")


def main(words: list[str] | None = None) -> int:
    """Run the requested suites."""
    arguments = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    arguments.add_argument("--minutes", type=float, help="for all suites together (default: 10, without --inputs)")
    arguments.add_argument("--inputs", type=int, help="instead: inputs of each suite (HTTP: of each endpoint)")
    arguments.add_argument("--seed", type=int, help="of all chance; printed, and another one each time")
    arguments.add_argument("--suite", action="append", help=f"one of {', '.join(suites())}; may be given several times")
    arguments.add_argument("--target", default="", help="only targets whose name holds this")
    arguments.add_argument("--folder", type=Path, default=FOLDER, help=f"where failing inputs are kept ({FOLDER})")
    given = arguments.parse_args(words)
    chosen = given.suite or list(suites())
    if unknown := [name for name in chosen if name not in suites()]:
        arguments.error(f"there is no suite {', '.join(unknown)}; there are {', '.join(suites())}")
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1 << 31)
    minutes = given.minutes if given.minutes is not None or given.inputs is not None else 10.0
    seconds = minutes * 60 / len(chosen) if minutes is not None else None
    print(f"seed {seed}: add SEED={seed} to repeat this", flush=True)
    rows: list[Row] = []
    findings = Findings(given.folder)
    for name in chosen:
        rows += suites()[name](Budget(seed, seconds, given.inputs, given.target), findings)
    if not rows:
        arguments.error(f"no target's name holds {given.target!r}")
    print(table(rows))
    return int(any(row.bad for row in rows))


if __name__ == "__main__":
    sys.exit(main())
