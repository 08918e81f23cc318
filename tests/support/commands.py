"""Runs the real command line many times at low cost: one process imports it, and each run is a fork of that process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.cli import Cli, Done

_LOADED = """
import json, os, sys
from streamwave.cli import app as cli
import streamwave.cli.transcode, streamwave.cli.probe, streamwave.cli.run, streamwave.cli.doctor

for run in json.load(sys.stdin):
    child = os.fork()
    if child == 0:
        os.chdir(run["folder"])
        os.environ.clear()
        os.environ.update(run["environment"])
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(run[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.argv = ["streamwave", *run["arguments"]]
        try:
            cli.main()
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


def run_all(cli: Cli, commands: Sequence[Command], timeout_s: float = 240) -> list[Done]:
    """Run ``commands`` one after the other in the folder of ``cli``."""
    said = cli.folder / "said"
    said.mkdir()
    runs: list[dict[str, Any]] = [
        {
            "folder": str(cli.folder),
            "arguments": list(one.arguments),
            "environment": {**cli.environment, **one.extra},
            "out": str(said / f"{number}.out"),
            "err": str(said / f"{number}.err"),
        }
        for number, one in enumerate(commands)
    ]
    done = subprocess.run(
        [sys.executable, "-c", _LOADED],
        input=json.dumps(runs), capture_output=True, text=True, timeout=timeout_s, env=cli.environment, check=True,
    )  # fmt: skip
    codes = [int(line) for line in done.stdout.split()]
    read = [(Path(run["out"]).read_text(), Path(run["err"]).read_text()) for run in runs]
    return [Done(code, *texts) for code, texts in zip(codes, read, strict=True)]
