"""How a command ends: one line and an exit code for whatever is raised; a traceback only for those who ask for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from streamwave.cli import app as cli
from streamwave.cli.transcode import Interrupted, run_transcode
from streamwave.errors import FFmpegError, OutputError, SettingsError, SourceError

#: The command, interrupted while it loads.
INTERRUPTED = """
import os, signal, sys
from streamwave.cli import start

class Interrupt:
    @staticmethod
    def find_spec(name, *_):
        if name == "streamwave.cli.app":
            os.kill(os.getpid(), signal.{})

sys.meta_path.insert(0, Interrupt)
start.main()
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupt_while_the_command_loads_is_no_traceback(name: str) -> None:
    command = [sys.executable, "-c", INTERRUPTED.format(name), "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "stopped\n")


@pytest.fixture(autouse=True)
def _signals(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a command does with signals is for its own process: a watch would end that of the tests at the second one."""
    monkeypatch.setattr(cli, "watch_signals", lambda: None)
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], outcome: object
) -> tuple[object, str, str]:
    """Let the command end with ``outcome``; exit code, stdout, stderr."""

    def command(standalone_mode: bool) -> object:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr(cli, "app", command)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return (caught.value.code, *capsys.readouterr())


@pytest.mark.parametrize(
    ("outcome", "code", "said"),
    [
        (None, 0, ""),
        (3, 3, ""),
        (SourceError("there is no file a.mp4; check the path"), 2, "error: there is no file a.mp4; check the path\n"),
        (OutputError("[bold]/out[/bold] is [full]"), 1, "error: [bold]/out[/bold] is [full]\n"),
        (SettingsError("one fault\nanother fault"), 2, "error: one fault\nerror: another fault\n"),
        (FFmpegError("chunk 1", ("ffmpeg",), 1, "a\nlast\n"), 1, "error: chunk 1 (exit status 1): last\n"),
        (Interrupted("interrupted; run it again"), 130, "error: interrupted; run it again\n"),
        (KeyboardInterrupt(), 130, "stopped\n"),
        (typer.Abort(), 130, "stopped\n"),
        (RuntimeError("a [b]\nc"), 1, "error: unexpected RuntimeError: a [b]; --debug shows the traceback\n"),
        (ValueError(), 1, "error: unexpected ValueError: no message; --debug shows the traceback\n"),
    ],
)
def test_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], outcome: object, code: int, said: str
) -> None:
    monkeypatch.delenv("STREAMWAVE_LOG_LEVEL", raising=False)
    assert ends(monkeypatch, capsys, outcome) == (code, "", said)


def test_the_traceback_for_those_who_ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("STREAMWAVE_LOG_LEVEL", "debug")
    code, _, said = ends(monkeypatch, capsys, SourceError("broken"))
    assert code == 2 and "Traceback" in said and "error: broken" in said

    def command(standalone_mode: bool) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(cli, "app", command)
    with pytest.raises(RuntimeError, match="broken"):
        cli.main()


def test_a_request_to_end_is_an_interruption(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "app", lambda standalone_mode: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 130 and capsys.readouterr().err == "stopped\n"


def test_an_interrupted_transcode_says_what_became_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(source: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("streamwave.cli.transcode.resolve_source", interrupt)
    with pytest.raises(Interrupted, match="the incomplete output was removed, run the command again"):
        run_transcode("a.mp4", None, None, False, cli.out)


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize("arguments", [["--help"], ["prefect", "env"], ["broadcasts", "ls", "--json"]])
def test_a_full_or_closed_stdout(arguments: list[str], buffered: bool, tmp_path: Path) -> None:
    """What rich, click and ``print`` have written is refused in one line on a full disk; a closed pipe is silent."""
    environment = {**os.environ, "STREAMWAVE_STATE_DIR": str(tmp_path), "PYTHONUNBUFFERED": "" if buffered else "1"}
    command = [sys.executable, "-c", "from streamwave.cli.start import main; main()", *arguments]

    def run(stdout: int) -> tuple[int, str]:
        done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60, env=environment)
        return done.returncode, done.stderr

    with open("/dev/full", "wb") as full:
        assert run(full.fileno()) == (
            1, "error: stdout cannot be written (No space left on device); free some space, or send it elsewhere\n",
        )  # fmt: skip
    ours, theirs = os.pipe()
    os.close(ours)
    assert run(theirs) == (1, "")
    os.close(theirs)


def test_a_full_stderr_leaves_the_exit_code() -> None:
    command = [sys.executable, "-c", "from streamwave.cli.start import main; main()", "no-such-command"]
    with open("/dev/full", "wb") as full:
        assert subprocess.run(command, stderr=full, timeout=60).returncode == 2
