"""Logs stay small, whatever is written, and a line is a line."""

from __future__ import annotations

import logging
import sys
import threading
from pathlib import Path
from types import TracebackType

import pytest

from streamwave.util import logs
from streamwave.util.logs import MAX_SIMILAR, OneLine, Repeated, ShortLog, cut
from tests.support.processes import wait_for


def test_a_log_is_cut_to_its_newest_lines_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "one.log"
    with path.open("ab", buffering=0) as log:
        for number in range(10_000):
            log.write(b"line %06d\n" % number)
        cut(path, 200_000)
        assert path.stat().st_size == 120_000
        cut(path, 20_000)
        log.write(b"the next\n")
    first, *lines, last = path.read_text().splitlines()
    assert "older lines removed" in first and last == "the next"
    assert lines[0].startswith("line 00") and lines[-1] == "line 009999" and len(lines) > 800
    assert path.stat().st_size < 11_000


def test_it_is_looked_at_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LOOK_S", 0.01)
    path, others = (
        tmp_path / "two.log",
        set(threading.enumerate()),
    )  # the Prefect server of the tests has such a log, too
    with ShortLog(path, 1000), path.open("ab", buffering=0) as log:
        for _ in range(5):
            log.write(b"x" * 999 + b"\n" + b"y" * 5000 + b"\n")
            wait_for(lambda: path.stat().st_size <= 1000, "a short log")
    wait_for(lambda: set(threading.enumerate()) <= others, "the end of its thread")
    cut(tmp_path / "none.log", 10)


def test_what_links_elsewhere_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"x" * 100)
    (tmp_path / "link").symlink_to(tmp_path / "target")
    cut(tmp_path / "link", 10)
    assert (tmp_path / "target").stat().st_size == 100


def _record(message: str, *values: object, level: int = logging.WARNING, name: str = "x") -> logging.LogRecord:
    return logging.LogRecord(name, level, __file__, 1, message, values, None)


def test_the_same_warning_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    limit = Repeated()
    assert sum(limit.filter(_record("no %s", number)) for number in range(5000)) == MAX_SIMILAR
    assert limit.filter(_record("another"))
    assert all(limit.filter(_record("no %s", number, level=logging.INFO)) for number in range(100))
    now += 11
    again = _record("no %s", 1)
    assert limit.filter(again) and again.getMessage() == f"no 1 [{5000 - MAX_SIMILAR} similar messages suppressed]"
    # As many kinds as somebody likes: they are remembered up to a bound, and written up to one.
    assert sum(limit.filter(_record(f"kind {number}")) for number in range(20_000)) < 600
    assert len(limit._seen) < 600


def test_an_error_is_one_line() -> None:
    try:
        int("\n" * 3000)
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "it\nfailed", (), sys.exc_info())
    line = OneLine().format(record)
    assert "\n" not in line and len(line) <= 2000 and " ERROR x it failed (ValueError: " in line
    record.exc_info = (ValueError, (error := ValueError("no")), None)
    error.__traceback__ = None
    assert OneLine().format(record).endswith("it failed (ValueError: no; )")
    assert "Traceback" in OneLine(debug=True).format(logging.LogRecord("x", 40, "", 1, "m", (), _raised()))


def _raised() -> tuple[type[BaseException], BaseException, TracebackType | None]:
    try:
        raise KeyError("x")
    except KeyError as error:
        return KeyError, error, error.__traceback__
