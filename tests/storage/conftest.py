"""One S3 endpoint for all tests of storage."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.s3 import S3, s3_server


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """moto's server over HTTP."""
    with s3_server() as endpoint:
        yield endpoint
