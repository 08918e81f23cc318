"""A broadcast that could be published nowhere can be given up, unless it is being received."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamwave.broadcasts.finalize import give_up, unpublished
from streamwave.errors import UsageError
from streamwave.spool.broadcast import open_session
from streamwave.spool.journal import JournalWriter


def test_what_was_published_nowhere_is_given_up(tmp_path: Path) -> None:
    spool, session = open_session(tmp_path, "cam", output="s3://nowhere/tv", window_ms=60_000)
    name = f"cam/{spool.broadcast}"
    assert unpublished(tmp_path, "other") is None
    writer = JournalWriter(session)
    try:
        with pytest.raises(UsageError, match=f"{name} is live: end it first"):
            unpublished(tmp_path, name)
    finally:
        writer.close()
    found = unpublished(tmp_path, name)
    assert found is not None and found.folder == spool.folder
    give_up(found)
    assert spool.finished and not session.exists() and unpublished(tmp_path, spool.broadcast) is None
