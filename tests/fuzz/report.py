"""The findings of fuzzing: a row for each target, the inputs that reproduce them, and the table at the end."""

from __future__ import annotations

import hashlib
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Row:
    """One target. ``failures`` are the files or texts that reproduce its findings."""

    suite: str
    target: str
    inputs: int = 0
    crashes: int = 0
    hangs: int = 0
    server_errors: int = 0
    over_memory: int = 0
    max_rss_mb: int = 0
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def bad(self) -> bool:
        """Whether there are findings."""
        return bool(self.crashes or self.hangs or self.server_errors or self.over_memory or self.failures)


class Findings:
    """Saves the inputs of findings below ``folder``, and shows the progress."""

    def __init__(self, folder: Path, *, quiet: bool = False) -> None:
        self.folder = folder
        self._quiet = quiet
        self._began = self._said = time.monotonic()

    def keep(self, row: Row, kind: str, data: bytes, why: str = "") -> Path:
        """Save one input with the reason ``why``; equal inputs are saved once."""
        digest = hashlib.sha256(data).hexdigest()[:12]
        path = self.folder / row.target.replace("/", "_") / f"{kind}-{digest}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        if why:
            path.with_name(f"{path.name}.txt").write_text(why, encoding="utf-8", errors="replace")
        if str(path) not in row.failures:
            row.failures.append(str(path))
        return path

    def progress(self, row: Row, *, last: bool = False) -> None:
        """Print the progress of ``row`` every few seconds."""
        now = time.monotonic()
        if self._quiet or (not last and now - self._said < 5):
            return
        self._said = now
        print(
            f"[{now - self._began:6.0f} s] {row.suite}/{row.target}: {row.inputs} inputs, {len(row.failures)} findings",
            file=sys.stderr,
            flush=True,
        )


_COLUMNS = ("target", "inputs", "crashes", "hangs", "500s", "over memory", "max RSS MB")


def table(rows: list[Row]) -> str:
    """All rows with sums for each suite, followed by commands that reproduce the findings."""
    body = [_cells(f"{row.suite}/{row.target}", [row]) for row in rows]
    suites = dict.fromkeys(row.suite for row in rows)
    body += [_cells(f"all of {suite}", [row for row in rows if row.suite == suite]) for suite in suites]
    lines = [_COLUMNS, *body]
    widths = [max(len(line[n]) for line in lines) for n in range(len(_COLUMNS))]
    text = [
        "  ".join(c.ljust(w) if n == 0 else c.rjust(w) for n, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    ]
    text += [f"{row.suite}/{row.target}: {note}" for row in rows for note in row.notes]
    text += [f"{row.suite}/{row.target}: {failure}" for row in rows for failure in row.failures]
    return "\n".join(text)


def _cells(name: str, rows: list[Row]) -> tuple[str, ...]:
    sums = (
        sum(getattr(row, key) for row in rows) for key in ("inputs", "crashes", "hangs", "server_errors", "over_memory")
    )
    return (name, *map(str, sums), str(max(row.max_rss_mb for row in rows)))
