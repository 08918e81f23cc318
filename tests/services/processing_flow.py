"""A flow without media instead of live-stream: it holds the broadcast, counts chunks in the journal, and finishes."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from prefect import flow
from prefect.runtime import flow_run

from streamwave.spool.broadcast import BroadcastSpool
from streamwave.spool.journal import ChunkLine, JournalReader


@flow(name="live-stream", persist_result=False)
def stub(broadcast_spool: str | None = None, source: str | None = None, stream: str | None = None) -> None:
    """Follow the journal as if its chunks were published."""
    if broadcast_spool is None:
        assert source is not None
        Path(source).write_text(f"{stream} by hand", encoding="utf-8")
        return
    spool = BroadcastSpool(Path(broadcast_spool))
    lock = spool.hold_run()
    assert lock is not None, "another run holds it"
    if (spool.folder / "fail").exists():
        raise RuntimeError("told to fail")
    readers: dict[Path, JournalReader] = {}
    chunks, told = 0, (-1, "")
    with lock:
        while True:
            closed = spool.close_if_over(time.time_ns() // 1_000_000)
            for session in spool.sessions():
                reader = readers.setdefault(session, JournalReader(session))
                chunks += sum(isinstance(line, ChunkLine) for line in reader.read())
            state = "live" if spool.ended_unix_ms() is None else "waiting"
            if told != (chunks, state):
                told = (chunks, state)
                _tell(spool, state, chunks)
            if closed and spool.ended_unix_ms() is not None and not (spool.folder / "hold").exists():
                break
            time.sleep(0.05)
        spool.mark_finished()
        _tell(spool, "finished", chunks)
        for session in spool.sessions():
            shutil.rmtree(session)


def _tell(spool: BroadcastSpool, state: str, chunks: int) -> None:
    spool.write_status(
        {
            "state": state, "flow_run_id": str(flow_run.id), "session": spool.sessions()[-1].name, "chunks": chunks,
            "published_ms": chunks * 2000, "received_ms": chunks * 2000, "lag_ms": 0, "bitrates": {"360p": 800_000},
            "updated_unix_ms": time.time_ns() // 1_000_000, "warnings": [], "error": None,
        }
    )  # fmt: skip
