"""What a run says of itself: never less than the run before it has said, and always in words that others know."""

from __future__ import annotations

import json
from pathlib import Path

from streamwave.model import State
from streamwave.pipeline.program import Program
from streamwave.pipeline.status import NEWEST, RunStatus
from streamwave.spool.broadcast import BroadcastSpool, open_session


def spool(tmp_path: Path) -> BroadcastSpool:
    return open_session(tmp_path, "show", output=str(tmp_path / "out"), window_ms=0, title="Show")[0]


def test_a_new_run_keeps_what_the_one_before_has_counted(tmp_path: Path) -> None:
    mine = spool(tmp_path)
    assert RunStatus(mine, "first").known_chunks == 0
    mine.write_status({"state": "failed", "chunks": 7, "published_ms": 14_000})
    status = RunStatus(mine, "second")
    assert status.known_chunks == 7
    status.tell()
    told = mine.status()
    assert (told["state"], told["flow_run_id"], told["chunks"], told["published_ms"]) == (
        "starting",
        "second",
        7,
        14_000,
    )
    status.tell(State.RECORDED)
    assert mine.status()["state"] == "finished"
    status.tell(error="why")
    assert (mine.status()["state"], mine.status()["error"]) == ("finished", "why")


def test_warnings_are_bounded(tmp_path: Path) -> None:
    mine = spool(tmp_path)
    status = RunStatus(mine, "run")
    for number in range(NEWEST + 5):
        status.warn(f"warning {number}")
    status.tell()
    assert mine.status()["warnings"] == [f"warning {number}" for number in range(5, NEWEST + 5)]


def test_what_the_publisher_says_comes_last(tmp_path: Path) -> None:
    mine = spool(tmp_path)
    program = Program(mine, mine.info())
    assert program.now() == {"title": "Show"}
    metadata = mine.folder / "metadata.json"
    metadata.write_text(json.dumps({"title": "Tonight", "artist": 5}))
    assert program.now() == {"title": "Tonight", "artist": "5"}
    metadata.write_text("[torn")
    assert program.now() == {"title": "Tonight", "artist": "5"}
