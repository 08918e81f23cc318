"""What all tests share: an environment without the developer's settings, one Prefect server, and the time of each tier."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from fcntl import LOCK_EX, flock
from pathlib import Path

import pytest

from flows.server import prefect_server
from streamwave.config.fields import PREFIX, variable_name
from streamwave.config.settings import Settings
from tests.support.cli import Cli, copy_database
from tests.support.prefect_api import AUTH
from tests.tiers import Times, in_order

_times = Times()
#: Ports that another program holds while the tests run, as on many machines: none of them may need one.
DEFAULT_PORTS = tuple(field.default for name, field in Settings.model_fields.items() if name.endswith("_port"))
_taken: list[socket.socket] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--write-golden`` is for people; nothing else gives it."""
    parser.addoption(
        "--write-golden", action="store_true", help="replace the files in tests/golden by what comes out now"
    )


@pytest.fixture
def write_golden(request: pytest.FixtureRequest) -> bool:
    """Whether to replace golden files."""
    return bool(request.config.getoption("--write-golden"))


def pytest_configure(config: pytest.Config) -> None:
    """Take away every setting of the developer's shell, so that tests see the defaults."""
    if config.getoption("--write-golden") and os.environ.get("CI"):
        raise pytest.UsageError("--write-golden is for people: CI compares")
    known = {variable_name(name, field) for name, field in Settings.model_fields.items()}
    for name in [name for name in os.environ if name.upper().startswith((PREFIX, "PREFECT_")) or name.upper() in known]:
        del os.environ[name]
    # Otherwise every process that a test starts compiles all modules of the project, and each worker all tests.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


class _AsItHappens:
    """What is told while the tests run: a run that is ended from outside has named its failures by then."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self.terminal = terminal

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add up the times, and name what failed with its last lines."""
        _times.add(report)
        if report.failed:
            self.terminal.write_line(f"\nFAILED ({report.when}, {report.duration:.0f} s) {report.nodeid}")
            for line in report.longreprtext.splitlines()[-30:]:
                self.terminal.write_line(f"    {line}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests into the order in which they are handed out."""
    items[:] = in_order(items)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Take the default ports, and tell failures as they happen: both in the process that prints."""
    if hasattr(session.config, "workerinput"):
        return
    for port in DEFAULT_PORTS:
        with suppress(OSError):  # another program has it already
            _taken.append(socket.create_server(("", port)))
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None:
        session.config.pluginmanager.register(_AsItHappens(terminal))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print where the time went."""
    for line in _times.lines():
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of the session's Prefect server."""
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture(scope="session")
def prefect_api(prefect_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real Prefect server; one for the whole session of a worker.

    Prefect itself is not imported into the process of the tests: it reads its settings then and never again. Flows run
    in processes of their own, and the tests ask this server what became of them.
    """
    place = tmp_path_factory.getbasetemp()
    # Its first start makes the database, which takes longer than all the rest: one worker does so for all.
    made = (place.parent if "PYTEST_XDIST_WORKER" in os.environ else place) / "prefect-database"
    with ExitStack() as stack:
        url = None
        with made.with_suffix(".lock").open("w") as lock:
            flock(lock, LOCK_EX)
            if made.exists():
                copy_database(made, prefect_home)
            else:
                url = stack.enter_context(prefect_server(prefect_home, AUTH))
                copy_database(prefect_home, made)
        yield url or stack.enter_context(prefect_server(prefect_home, AUTH))


@pytest.fixture
def cli(tmp_path: Path, prefect_api: str) -> Cli:
    """The command line, using the session's Prefect server."""
    return Cli(tmp_path, {"PREFECT_API_URL": prefect_api})


@pytest.fixture
def own_cli(tmp_path: Path, prefect_api: str, prefect_home: Path) -> Cli:
    """The command line as people have it: it brings up a Prefect server of its own."""
    own = Cli(tmp_path)
    copy_database(prefect_home, own.state / "prefect")
    return own
