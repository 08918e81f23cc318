"""Fixtures of the services' tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.processing_case import Case


@pytest.fixture
def case(tmp_path: Path, prefect_api: str) -> Iterator[Case]:
    """An installation whose processing service has not been started."""
    case = Case(tmp_path, prefect_api)
    try:
        yield case
    finally:
        case.close()
