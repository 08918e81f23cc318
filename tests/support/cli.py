"""The real command line in a separate process, with its own state folder, temporary folder and mark."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from streamwave.config.fields import PREFIX, variable_name
from streamwave.config.settings import Settings
from tests.support.media import ffmpeg_path
from tests.support.ports import free_port
from tests.support.prefect_api import AUTH_ENVIRONMENT
from tests.support.processes import MARK, kill, marked, program

if TYPE_CHECKING:
    from tests.support.commands import Loaded

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(sys.executable).parent

#: The settings of all ports that programs always listen at.
PORTS = [
    variable_name(name, info)
    for name, info in Settings.model_fields.items()
    if name.endswith("_port") and name != "dask_dashboard_port"
]

#: Two small renditions, so that a chunk takes a fraction of a second.
LADDER = {
    "rungs": [
        {"name": "large", "short_side": 180, "max_kbps": 600},
        {"name": "small", "short_side": 90, "max_kbps": 250},
    ],
    "audio_kbps": 128,
}


@dataclass(frozen=True)
class Done:
    """The result of a command."""

    code: int
    out: str
    err: str


@dataclass
class Cli:
    """Runs ``streamwave`` from ``programs`` in ``folder``. ``extra`` is added to the environment of every command.

    Every process that a command starts has ``mark`` in its environment. Those that listen do so on ``ports`` of their own. With
    ``loaded``, commands that run to their end are forks of that process, which costs a tenth of a start.
    """

    folder: Path
    extra: dict[str, str] = field(default_factory=dict)
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    programs: Path = PROGRAMS
    loaded: Loaded | None = None
    ports: dict[str, str] = field(default_factory=lambda: {name: str(free_port()) for name in PORTS})
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        for path in (self.state, self.temporary):
            path.mkdir(parents=True, exist_ok=True)

    @property
    def state(self) -> Path:
        """STREAMWAVE_STATE_DIR."""
        return self.folder / "state"

    @property
    def temporary(self) -> Path:
        """TMPDIR."""
        return self.folder / "tmp"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the commands, without the developer's own settings."""
        ours = {variable_name(name, info) for name, info in Settings.model_fields.items()}
        kept = {k: v for k, v in os.environ.items() if k not in ours and not k.startswith((PREFIX, "PREFECT_"))}
        return {
            **kept,
            "STREAMWAVE_STATE_DIR": str(self.state),
            "STREAMWAVE_LADDER": json.dumps(LADDER),
            "TMPDIR": str(self.temporary),
            **self.ports,
            # Servers of the tests require it; a server that the command starts generates its own.
            **(AUTH_ENVIRONMENT if "PREFECT_API_URL" in self.extra else {}),
            **self.extra,
        }

    def marked_environment(self) -> dict[str, str]:
        """The environment of the next command, with a mark of its own."""
        return {**self.environment, MARK: f"{self.mark}.{next(self._numbers)}"}

    @contextmanager
    def start(
        self, *arguments: str, program: str = "streamwave", cwd: Path | None = None, terminal: int = subprocess.PIPE
    ) -> Iterator[subprocess.Popen[str]]:
        """Start a command in its own process group, as a shell does. It is killed with all its descendants at the end.

        ``terminal`` is a file descriptor for its output.
        """
        environment = self.marked_environment()
        process = subprocess.Popen(
            [str(self.programs / program), *arguments],
            cwd=cwd or self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=terminal,
            stderr=terminal,
            text=True,
            start_new_session=True,
            # A shell starts background jobs with SIGINT ignored, and that is inherited.
            preexec_fn=_default_interrupt,
        )
        try:
            yield process
        finally:
            for pid in {process.pid, *marked(environment[MARK])}:
                kill(pid)
            process.communicate(timeout=60)

    def run(
        self, *arguments: str, timeout_s: float = 120, program: str = "streamwave", cwd: Path | None = None
    ) -> Done:
        """Run a command to its end."""
        if self.loaded is not None and program == "streamwave":
            return self.loaded.run(arguments, cwd or self.folder, self.marked_environment(), timeout_s)
        with self.start(*arguments, program=program, cwd=cwd) as process:
            out, err = process.communicate(timeout=timeout_s)
            return Done(process.returncode, out, err)

    def ffmpegs(self, part: str = "") -> list[int]:
        """PIDs of our commands' FFmpeg processes that have ``part`` in their command line."""
        real = Path(ffmpeg_path()).resolve().name
        return [pid for pid, argv in marked(self.mark).items() if program(pid) == real and part in " ".join(argv)]

    def leftovers(self) -> list[str]:
        """Files in the spool and in the temporary folder; there must be none after a command."""
        spool = self.state / "spool"
        return [str(path.relative_to(self.folder)) for place in (spool, self.temporary) for path in place.rglob("*")]


def _default_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def copy_database(home: Path, target: Path) -> None:
    """Copy the database of a Prefect home to ``target``, so that its server need not create one."""
    target.mkdir(parents=True, exist_ok=True)
    source, copy = sqlite3.connect(home / "prefect.db"), sqlite3.connect(target / "prefect.db")
    try:
        source.backup(copy)
    finally:
        source.close()
        copy.close()


def slow_ffmpeg(folder: Path, part: str, *, once: bool = False, rate: str = "0.01") -> Path:
    """A replacement for FFmpeg that runs the real one, but at a hundredth of real time if ``part`` is in its arguments.

    ``once``: only the first time. ``rate``: another multiple of real time, in the shell's words. The file ``starts`` in
    ``folder`` lists the arguments of every start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    real, path = ffmpeg_path(), folder / "slow-ffmpeg"
    guard = f'mkdir "{folder}/slowed" 2>/dev/null &&' if once else ""
    path.write_text(
        f'#!/bin/sh\necho "$*" >>"{folder}/starts"\n'
        f'case "$*" in *"{part}"*) {guard} exec "{real}" -readrate {rate} "$@" ;; esac\nexec "{real}" "$@"\n'
    )
    path.chmod(0o755)
    return path


def failing_ffmpeg(folder: Path, part: str, hungry: str = "/none/", *, once: bool = False) -> Path:
    """A replacement for FFmpeg that runs the real one, but fails if ``part`` is in its arguments. Lists all starts.

    If ``hungry`` is in its arguments, it fails for lack of memory. ``once``: it fails only the first time.
    """
    folder.mkdir(parents=True)
    path = folder / "failing-ffmpeg"
    guard = f'mkdir "{folder}/failed" 2>/dev/null &&' if once else ""
    path.write_text(
        f'#!/bin/sh\necho "$*" >>"{folder}/starts"\ncase "$*" in *"{part}"*) {guard} exit 1 ;;'
        f' *"{hungry}"*) echo "Cannot allocate memory" >&2; exit 1 ;; esac\nexec "{ffmpeg_path()}" "$@"\n'
    )
    path.chmod(0o755)
    return path
