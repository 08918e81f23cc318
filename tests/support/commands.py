"""Runs the real command line many times at low cost: one process imports it, and each run is a fork of that process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.cli import Cli, Done

_LOADED = """
import json, os, sys
import streamwave.cli.app, streamwave.cli.transcode, streamwave.cli.probe, streamwave.cli.run, streamwave.cli.doctor
import streamwave.broadcasts.check, streamwave.broadcasts.delete, streamwave.broadcasts.export, streamwave.verify
import streamwave.streams.publishes, streamwave.streams.registry
from streamwave.cli.start import main

for line in sys.stdin:
    run = json.loads(line)
    child = os.fork()
    if child == 0:
        os.chdir(run["folder"])
        os.environ.clear()
        os.environ.update(run["environment"])
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(run[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.argv = ["streamwave", *run["arguments"]]
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        except BaseException:
            import traceback
            traceback.print_exc()
            code = 99
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclass(frozen=True)
class Command:
    """One run: its arguments, and additions to the environment."""

    arguments: Sequence[str]
    extra: dict[str, str] = field(default_factory=dict)


class Loaded:
    """A process that has loaded the command line; what reads its environment as it loads (COLUMNS) finds ``environment``."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._files = folder / "out", folder / "err"
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LOADED],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(environment), start_new_session=True,
        )  # fmt: skip

    def run(self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], timeout_s: float) -> Done:
        """Run one command to its end."""
        out, err = self._files
        run = {
            "folder": str(folder), "arguments": list(arguments), "environment": dict(environment),
            "out": str(out), "err": str(err),
        }  # fmt: skip
        assert self._process.stdin is not None and self._process.stdout is not None
        over = threading.Timer(timeout_s, self.close)
        over.start()
        try:
            self._process.stdin.write(f"{json.dumps(run)}\n")
            self._process.stdin.flush()
            code = self._process.stdout.readline()
        finally:
            over.cancel()
        assert code, f"{arguments} did not end within {timeout_s:g} s"
        return Done(int(code), out.read_text(), err.read_text())

    def close(self) -> None:
        """End it, and a command that still runs."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)


@contextmanager
def loaded(environment: Mapping[str, str]) -> Iterator[Loaded]:
    """A process that has loaded the command line, for ``Cli.loaded``."""
    with tempfile.TemporaryDirectory() as folder:
        found = Loaded(Path(folder), environment)
        try:
            yield found
        finally:
            found.close()
            for pipe in (found._process.stdin, found._process.stdout):
                assert pipe is not None
                pipe.close()


def run_all(cli: Cli, commands: Sequence[Command], timeout_s: float = 240) -> list[Done]:
    """Run ``commands`` one after the other in the folder of ``cli``."""
    with loaded(cli.environment) as program:
        return [
            program.run(one.arguments, cli.folder, {**cli.marked_environment(), **one.extra}, timeout_s)
            for one in commands
        ]
