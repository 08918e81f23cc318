"""A scheduler and workers as on several machines: processes with state folders of their own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.support.cli import Cli
from tests.support.hosts import Host
from tests.support.ports import free_port
from tests.support.processes import wait_for

IMPATIENT = """
import sys
from streamwave.cli.cluster import run_scheduler
from streamwave.cluster.dask_config import DASK
DASK["distributed.scheduler.allowed-failures"] = int(sys.argv[2])
run_scheduler(sys.argv[1])
"""


@dataclass
class Program:
    """A scheduler or a worker that runs; ``log`` is what it has printed."""

    cli: Cli
    process: subprocess.Popen[str]
    log: Path

    def says(self, text: str) -> None:
        """Wait until it prints ``text``."""

        def look() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return text in self.log.read_text()

        wait_for(look, f"{text!r} from {self.log.parent.name}", 60)

    @property
    def name(self) -> str:
        """Name of the newest worker process that this command has started."""
        return str(re.findall(r"worker (\S+): ready", self.log.read_text())[-1])

    @property
    def pid(self) -> int:
        """PID of that process."""
        return int(re.findall(r":(\d+)-", self.name)[-1])

    def kill(self) -> None:
        """Kill the worker process, as the kernel does when memory runs out; the command restarts it."""
        os.kill(self.pid, signal.SIGKILL)

    def scratch(self) -> list[str]:
        """Folders of chunks that this worker has."""
        return [path.name for path in (self.cli.state / "worker").glob("*/chunk-*")]


@dataclass
class Machines:
    """Several machines in ``folder``."""

    folder: Path
    port: int = field(default_factory=free_port)
    extra: dict[str, str] = field(default_factory=dict)
    address: str = ""
    hosts: dict[str, Host] = field(default_factory=dict)  # of single machines by name, and "" of all others
    _stack: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        host = self.hosts[""].address if self.hosts else "127.0.0.1"
        self.address = self.address or f"dask://{host}:{self.port}"

    def cli(self, name: str, **extra: str) -> Cli:
        """The command line of a machine."""
        return Cli(self.folder / name, {**self.extra, **extra})

    def start(self, name: str, *arguments: str, program: str = "streamwave", **extra: str) -> Program:
        """Start a command on the machine ``name``."""
        cli = self.cli(name, **extra)
        if self.hosts:
            host = self.hosts.get(name, self.hosts[""])
            enter, *rest = host.command(str(cli.programs / program), *arguments)
            program, arguments = shutil.which(enter) or enter, tuple(rest)
        log: IO[bytes] = self._stack.enter_context((cli.folder / "log").open("ab"))
        process = self._stack.enter_context(cli.start(*arguments, program=program, terminal=log.fileno()))
        return Program(cli, process, cli.folder / "log")

    def python(self, name: str, *arguments: str, **extra: str) -> Program:
        """Start Python."""
        return self.start(name, *arguments, program="python", **extra)

    def scheduler(self, name: str = "scheduler", allowed_failures: int | None = None) -> Program:
        """Start a scheduler, and wait until it listens. ``allowed_failures``: how many deaths a chunk may cost."""
        if allowed_failures is None:
            started = self.start(name, "scheduler", self.address)
        else:
            started = self.start(name, "-c", IMPATIENT, self.address, str(allowed_failures), program="python")
        started.says("listening")
        return started

    def workers(self, *names: str, **extra: str) -> list[Program]:
        """Start workers, and wait until they are connected."""
        started = [self.start(name, "worker", self.address, **extra) for name in names]
        for one in started:
            one.says("ready")
        return started

    def worker(self, name: str, **extra: str) -> Program:
        """Start a worker, and wait until it is connected."""
        return self.workers(name, **extra)[0]


@contextmanager
def machines(folder: Path, hosts: dict[str, Host] | None = None, **extra: str) -> Iterator[Machines]:
    """Machines that are switched off at the end."""
    found = Machines(folder, extra=extra, hosts=hosts or {})
    with found._stack:
        yield found
