"""Fixtures for tests of a whole installation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.browser import PlayerHarness, open_harness
from tests.support.live import Installation, installation


@pytest.fixture(scope="session")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlayerHarness]:
    """A browser for the players and pages of all files: every test has pages with a cache of their own."""
    with open_harness(tmp_path_factory.mktemp("empty")) as opened:
        yield opened


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, prefect_api: str, prefect_home: Path) -> Iterator[Installation]:
    """`streamwave up` with the default settings of the tests, once for all tests of a file."""
    with installation(tmp_path_factory.mktemp("live"), prefect_home) as found:
        yield found


@pytest.fixture(scope="module")
def running_at_prefect(
    tmp_path_factory: pytest.TempPathFactory, prefect_api: str, prefect_home: Path
) -> Iterator[Installation]:
    """The same with the session's Prefect server in place of one of its own, which takes as long to start as the rest."""
    with installation(tmp_path_factory.mktemp("live"), prefect_home, PREFECT_API_URL=prefect_api) as found:
        yield found
