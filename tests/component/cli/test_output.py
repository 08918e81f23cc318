"""What commands print: tables for terminals and pipes, JSON for programs, help, exit codes, completion."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from streamwave import errors
from streamwave.cli import complete, docs, exits
from streamwave.cli.app import app
from streamwave.cli.examples import EXAMPLES
from tests.support.media import make_clip

ID = "a-stream-with-quite-a-long-name-0123456789/20260405T180000Z-abcdef"
#: A table with an id and a title that are wider than a narrow terminal; a progress bar beside it.
TABLE = f"""
from rich.console import Console
from streamwave.cli.broadcasts import bar
from streamwave.cli.output import print_table
with bar() as progress:
    progress.update(progress.add_task("segments", total=2), completed=1)
print_table(Console(), ("name", "title", "size"), [["{ID}", "one two three four five six", "1 B"]],
            wraps=("title",), right=("size",))
"""


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STREAMWAVE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("OUTPUT_DIR", str(tmp_path / "out"))
    monkeypatch.delenv("STREAMWAVE_DATABASE_URL", raising=False)
    return CliRunner()


def document(runner: CliRunner, *arguments: str, code: int = 0) -> dict[str, Any]:
    """What a command prints with --json: all of stdout is one document."""
    done = runner.invoke(app, [*arguments, "--json"])
    assert done.exit_code == code, done.output
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def commands() -> Iterator[tuple[str, Any]]:
    root: Any = get_command(app)
    for name, one in root.commands.items():
        inner = getattr(one, "commands", None)
        yield from ((f"{name} {sub}", sub_one) for sub, sub_one in inner.items()) if inner else [(name, one)]


def on_pty(columns: int, **environment: str) -> str:
    """What a terminal shows of TABLE."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    plain = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-c", TABLE], stdout=theirs, stderr=theirs, env={**plain, "TERM": "xterm", **environment}
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not data:
            break
        shown += data
    os.close(ours)
    assert process.wait(60) == 0, shown
    return shown.decode()


def test_a_narrow_terminal_wraps_titles_and_no_id() -> None:
    shown = on_pty(90)
    assert ID in shown and "one two three four five six" not in shown and "six" in shown
    assert "segments" in shown


@pytest.mark.parametrize("columns", [40, 80])
def test_a_table_that_cannot_fit_has_a_line_for_each_cell(columns: int) -> None:
    """Nothing is left out, and the terminal alone breaks lines, so that what is copied is whole."""
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", on_pty(columns))
    assert f"name   {ID}\r\ntitle  one two three four five six\r\nsize   1 B\r\n" in shown


def test_a_dumb_terminal_gets_no_bar_and_no_escape() -> None:
    shown = on_pty(200, TERM="dumb")
    assert "\x1b" not in shown and "segments" not in shown and ID in shown


def test_no_color_is_honoured() -> None:
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", on_pty(200, NO_COLOR="1"))


@pytest.mark.parametrize("force", [{}, {"FORCE_COLOR": "1"}])
def test_a_pipe_gets_plain_lines_and_no_bar(force: dict[str, str]) -> None:
    environment = {**os.environ, "COLUMNS": "40", **force}
    done = subprocess.run([sys.executable, "-c", TABLE], capture_output=True, text=True, env=environment, timeout=60)
    width = len(ID)
    assert done.stdout.splitlines() == [
        f"{'name':<{width}}  {'title':<27}  size",
        f"{ID}  one two three four five six   1 B",
    ]
    assert done.stderr == ""


def test_streams_in_json_and_completion(runner: CliRunner, tmp_path: Path) -> None:
    assert complete.stream_names("") == []
    assert not (tmp_path / "state").exists(), "completion makes nothing"
    key = document(runner, "streams", "add", "stage", "--title", "The [main] stage")
    assert key["name"] == "stage" and key["key"] and key["server"].startswith("rtmp://")
    (stream,) = document(runner, "streams", "ls")["streams"]
    assert (stream["name"], stream["title"], stream["enabled"]) == ("stage", "The [main] stage", True)
    assert not stream["publishing"] and stream["broadcast"] is None
    assert complete.stream_names("st") == ["stage"] and complete.stream_names("x") == []
    assert document(runner, "streams", "rotate-key", "stage")["key"] != key["key"]


def test_no_broadcasts_are_a_document_too(runner: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert document(runner, "broadcasts", "ls") == {"broadcasts": [], "faults": []}
    assert document(runner, "broadcasts", "clean", "--dry-run")["items"] == []


def test_completion_of_broadcasts(runner: CliRunner, tmp_path: Path) -> None:
    for name in ("stage/b1", "stage/b2", "other/b3", "talk"):
        (tmp_path / "out" / name).mkdir(parents=True)
        (tmp_path / "out" / name / "manifest.mpd").touch()
    assert complete.broadcast_names("stage/") == ["stage/b2", "stage/b1"]
    assert complete.broadcast_names("t") == ["talk"]


def test_what_a_source_holds_in_json(runner: CliRunner, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=30, size="320x180").path
    found = document(runner, "probe", str(clip))
    assert (found["video"]["width_px"], found["video"]["shown_height_px"]) == (320, 180)
    assert found["audio"]["sample_rate_hz"] and found["renditions"][0]["kind"] == "video"


def test_the_machine_in_json(runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    from streamwave.cli import doctor

    checks = [doctor.Check("a", "ok", "x"), doctor.Check("b", "fail", "broken", "mend it")]
    monkeypatch.setattr(doctor, "run_checks", lambda settings: checks)
    found = document(runner, "doctor", code=1)
    assert not found["ok"] and [one["status"] for one in found["checks"]] == ["ok", "fail"]


def test_an_error_leaves_stdout_empty(runner: CliRunner) -> None:
    done = runner.invoke(app, ["broadcasts", "show", "nothing", "--json"])
    assert done.stdout == "" and isinstance(done.exception, errors.StreamWaveError)


def test_what_lists_shows_probes_or_verifies_has_json() -> None:
    having = {name for name, one in commands() if any("--json" in option.opts for option in one.params)}
    assert having >= {
        "transcode", "probe", "doctor", "streams ls", "streams add", "streams rotate-key", "broadcasts ls",
        "broadcasts show", "broadcasts verify", "broadcasts export", "broadcasts clean",
    }  # fmt: skip


def test_the_page_of_documents_is_in_step() -> None:
    assert docs.PAGE.read_text() == docs.page(), "run: make docs"
    assert set(EXAMPLES) == {model.__name__ for model in docs.documents()}


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=[name for name, _ in commands()])
def test_help_teaches(name: str, command: Any) -> None:
    text = command.help
    assert text.split("\n\n")[0].endswith((".", "not.")), "a summary"
    assert f"streamwave {name}" in text.partition("Example: ")[2]
    assert "Output: " in text


def test_exit_codes_are_those_of_the_errors() -> None:
    def kinds(one: type[errors.StreamWaveError]) -> Iterator[type[errors.StreamWaveError]]:
        yield one
        for child in one.__subclasses__():
            yield from kinds(child)

    assert {0, *(one.exit_code for one in kinds(errors.StreamWaveError)), 130} == set(exits.EXIT_CODES)
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "300"}).stdout
    for code, meaning in exits.EXIT_CODES.items():
        assert f"{code}: {meaning}" in shown


def test_completion_can_be_installed() -> None:
    environment = {
        **os.environ,
        "_STREAMWAVE_COMPLETE": "complete_bash",
        "COMP_WORDS": "streamwave broad",
        "COMP_CWORD": "1",
    }
    program = Path(sys.executable).parent / "streamwave"
    done = subprocess.run([program], capture_output=True, text=True, env=environment, timeout=60)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["broadcasts"], "")
