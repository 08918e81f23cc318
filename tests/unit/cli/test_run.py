"""``streamwave run``: what its Ctrl-C ends, and what it leaves alone."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from streamwave.cli.run import _end_gently
from streamwave.settings import Settings
from streamwave.spool.broadcast import open_session
from streamwave.spool.journal import LOCK, writer_alive
from tests.support.processes import wait_for

#: Holds the spool that it is given, as a segmenter does, until it is asked to stop.
WRITER = """
import signal, sys, threading
from pathlib import Path
from streamwave.spool.journal import JournalWriter
end = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: end.set())
writer = JournalWriter(Path(sys.argv[1]))
end.wait(60)
"""
#: The same as the child of another program.
OF_ANOTHER = "import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', *sys.argv[1:]]).returncode)"


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("ours", [True, False])
def test_ctrl_c_ends_what_this_run_receives_and_nobody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ours: bool
) -> None:
    monkeypatch.setenv("STREAMWAVE_SPOOL_DIR", str(tmp_path))
    session = open_session(tmp_path, "show", output="file:///nowhere", window_ms=0)[1]
    arguments = [WRITER, str(session)] if ours else [OF_ANOTHER, WRITER, str(session)]
    process = subprocess.Popen([sys.executable, "-c", *arguments])
    try:
        wait_for(lambda: writer_alive(session) and (session / LOCK).read_bytes(), "the writer", 20)
        _end_gently(Settings.load(env_file=None), "show", Console(quiet=True))
        signal.raise_signal(signal.SIGINT)
        if ours:
            assert process.wait(20) == 0
        else:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(1)
    finally:
        for pid in (session / LOCK).read_bytes().split() if writer_alive(session) else []:
            subprocess.run(["kill", "-KILL", pid.decode()], check=False)
        process.kill()
        process.wait(5)
