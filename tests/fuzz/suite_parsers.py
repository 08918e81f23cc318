"""Fuzzes the parsers, each in a child process that is monitored for crashes, hangs and memory use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.guided import BOARD_BYTES, HEAD
from tests.fuzz.parsers import parsers
from tests.fuzz.report import Findings, Row
from tests.fuzz.suites import Budget, suite

#: CPU time that one input may take, in seconds; it does not depend on the load of the machine.
HANG_CPU_S = 5.0
_LOOK_S = 0.2
#: Maximum number of restarts of a target that keeps dying.
_MOST_DEATHS = 5
_TICKS = os.sysconf("SC_CLK_TCK")


@suite("parsers")
def run(budget: Budget, findings: Findings) -> Iterator[Row]:
    """A row for each parser."""
    names = [name for name in parsers() if budget.wants(name)]
    for name in names:
        yield fuzz(name, budget.shared(len(names)), findings)


def fuzz(name: str, budget: Budget, findings: Findings, module: str = "tests.fuzz.guided") -> Row:
    """Fuzz one parser within the budget; the process is restarted after an input that has killed it."""
    row = Row("parsers", name)
    end = time.monotonic() + budget.seconds if budget.seconds is not None else None
    for attempt in range(_MOST_DEATHS):
        left_s = end - time.monotonic() if end is not None else None
        left = budget.inputs - row.inputs if budget.inputs is not None else None
        if (left_s is not None and left_s < 1) or (left is not None and left <= 0):
            break
        if _once(row, Budget(budget.seed + attempt, left_s, left), findings, module):
            break
    findings.progress(row, last=True)
    return row


def _once(row: Row, budget: Budget, findings: Findings, module: str) -> bool:
    """Run one process. Returns whether it finished normally."""
    with tempfile.TemporaryDirectory(prefix="streamwave-fuzz-") as folder:
        board, found = Path(folder, "board"), Path(folder, "found")
        board.write_bytes(bytes(BOARD_BYTES))
        found.mkdir()
        command = [sys.executable, "-m", module, row.target, str(board), str(found), "--seed", str(budget.seed)]
        command += ["--inputs", str(budget.inputs)] if budget.inputs is not None else []
        command += ["--seconds", str(max(1, int(budget.seconds)))] if budget.seconds is not None else []
        log = Path(folder, "log")
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        before = row.inputs
        try:
            hung = _watch(process, board, row, before, findings)
        finally:
            process.kill()
            code = process.wait()
        inputs, trying, length, most_kb = HEAD.unpack_from(board.read_bytes())
        row.inputs, row.max_rss_mb = before + inputs, max(row.max_rss_mb, most_kb // 1024)
        for path in sorted(found.glob("crash-*[0-9]")):
            row.crashes += 1
            findings.keep(row, "crash", path.read_bytes(), path.with_suffix(".txt").read_text("utf-8", "replace"))
        last = board.read_bytes()[HEAD.size : HEAD.size + length]
        words = log.read_bytes()[-4000:].decode("utf-8", "replace")
        if hung:
            row.hangs += 1
            findings.keep(row, "hang", last, f"more than {HANG_CPU_S:g} s of processor time\n{words}")
        elif trying:
            row.crashes += 1
            findings.keep(row, "death", last, f"the process ended with {code}\n{words}")
        elif code != 0:
            row.crashes += 1
            row.failures.append(f"ended with {code}: {words.strip().splitlines()[-1:] or ''}")
        return not hung and not trying


def _watch(process: subprocess.Popen[bytes], board: Path, row: Row, before: int, findings: Findings) -> bool:
    """Wait for the process to end. Returns whether an input took too long."""
    last, since_s = -1, 0.0
    while process.poll() is None:
        time.sleep(_LOOK_S)
        inputs, trying, *_ = HEAD.unpack_from(board.read_bytes())
        row.inputs = before + inputs
        findings.progress(row)
        spent_s = _cpu_s(process.pid)
        if inputs != last or not trying:
            last, since_s = inputs, spent_s
        elif spent_s - since_s > HANG_CPU_S:
            process.send_signal(signal.SIGKILL)
            return True
    return False


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS
