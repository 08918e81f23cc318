"""What ending a run by hand ends, and what it leaves alone."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from streamwave.cli.run import Ending
from streamwave.pipeline.receiving import Receiver
from streamwave.spool.broadcast import open_session
from streamwave.spool.journal import LOCK, end_of, writer_alive
from streamwave.spool.options import Options
from tests.support.processes import wait_for

#: Holds the spool that it is given, as a segmenter of somebody else does.
WRITER = """
import sys, time
from pathlib import Path
from streamwave.spool.journal import JournalWriter
writer = JournalWriter(Path(sys.argv[1]))
time.sleep(120)
"""


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def source() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/nothing.ts"


@pytest.mark.parametrize("when", ["before the start", "while it loads", "while it receives"])
def test_a_signal_ends_what_is_received_here_and_nothing_else(tmp_path: Path, source: str, when: str) -> None:
    session = open_session(tmp_path, "show", output="file:///nowhere", window_ms=0, owner="one")[1]
    others = open_session(tmp_path, "show", output="file:///nowhere", window_ms=0, owner="one")[1]
    assert others != session
    other = subprocess.Popen([sys.executable, "-c", WRITER, str(others)])
    receiver = Receiver()
    try:
        wait_for(lambda: (others / LOCK).exists() and (others / LOCK).read_bytes(), "the other one")
        ending = Ending(Console(quiet=True))
        ending.take_over(receiver.stop)
        if when == "before the start":
            signal.raise_signal(signal.SIGINT)
        receiver.start(Options(source=source, spool=session, segment_ms=1000, live=True))
        if when == "while it receives":
            wait_for(lambda: writer_alive(session) and (session / LOCK).read_bytes(), "the segmenter")
        if when != "before the start":
            signal.raise_signal(signal.SIGTERM)
        assert ending.asked
        end = wait_for(lambda: end_of(session), "the end of the journal")
        assert end is not None and end.reason == "stopped"
        wait_for(lambda: not writer_alive(session), "the end of the segmenter")
        assert other.poll() is None and writer_alive(others) and end_of(others) is None
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        receiver.close()
        other.kill()
        other.wait(60)
