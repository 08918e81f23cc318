"""A segmenter as a process: what others may read of it, and who is stopped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from streamwave.receive.launch import start_segmenter, stop_segmenter
from streamwave.spool.journal import LOCK, EndRecord, JournalReader, JournalWriter
from streamwave.spool.options import Options
from streamwave.spool.stop import request_stop
from streamwave.util.waiting import wait_until

SECRETS = ("hunter2", "sw_stream-key", "t0ken")


def test_nobody_reads_the_source_off_the_process_table(tmp_path: Path) -> None:
    """Whoever has an account on the machine can read command lines."""
    source = "rtmp://user:hunter2@127.0.0.1:1/live/sw_stream-key?token=t0ken"
    process = start_segmenter(Options(source=source, spool=tmp_path / "spool"))
    try:
        # It is empty for the moment in which one program makes way for the next.
        assert wait_until(lambda: b"segmenter" in Path(f"/proc/{process.pid}/cmdline").read_bytes(), 10)
        line = Path(f"/proc/{process.pid}/cmdline").read_bytes().decode()
        assert not [secret for secret in SECRETS if secret in line]
        process.wait(60)
    finally:
        stop_segmenter(process, graceful=False)
    (end,) = JournalReader(tmp_path / "spool").read()
    assert isinstance(end, EndRecord)
    assert end.error is not None
    assert "rtmp://127.0.0.1:1/live/***" in end.error
    for path in (tmp_path / "spool").iterdir():
        assert not [secret for secret in SECRETS if secret in path.read_text()], path


def test_a_number_that_belongs_to_somebody_else_by_now_is_not_stopped(tmp_path: Path) -> None:
    """A segmenter has just taken the spool and not yet written its number over that of the one before."""
    writer = JournalWriter(tmp_path)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as bystander:
        (tmp_path / LOCK).write_text(str(bystander.pid))
        assert not request_stop(tmp_path)
        (tmp_path / LOCK).write_text(str(os.getpid()))
        assert not request_stop(tmp_path), "we would end ourselves"
        assert bystander.poll() is None
        bystander.communicate(b"\n", timeout=60)
        assert bystander.returncode == 0
    writer.close()
