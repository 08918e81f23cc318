"""What all tests share: an environment without the developer's settings, and the time that each group of tests took."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import pytest

from streamwave.settings import Settings
from streamwave.settings_fields import PREFIX, variable_name

_TESTS = Path(__file__).parent
_seconds: dict[str, float] = defaultdict(float)


def pytest_configure() -> None:
    """Take away every setting of the developer's shell, so that tests see the defaults."""
    known = {variable_name(name, field) for name, field in Settings.model_fields.items()}
    for name in [name for name in os.environ if name.upper().startswith(PREFIX) or name.upper() in known]:
        del os.environ[name]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up the time of each folder of tests."""
    parts = Path(report.nodeid.partition("::")[0]).parts
    _seconds[parts[1] if len(parts) > 2 else parts[-1]] += report.duration


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print that time: the unit tests are to stay under a minute."""
    times = ", ".join(f"{folder} {seconds:.1f} s" for folder, seconds in sorted(_seconds.items()))
    terminalreporter.write_line(f"time by folder: {times}")
