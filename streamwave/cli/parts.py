"""The processes of one installation: started together, restarted when one dies, stopped together."""

from __future__ import annotations

import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from logging.handlers import RotatingFileHandler
from pathlib import Path

from streamwave.errors import SettingsError
from streamwave.ffmpeg.process import kill, spawn

#: Delay before a part that died is restarted. It doubles, up to the limit, while the part keeps dying.
RESTART_S = 0.5
RESTART_LIMIT_S = 30.0
#: Uptime after which a part counts as healthy, which resets its delay.
STEADY_S = 30.0
LOG_BYTES = 10_000_000
#: Longer lines are split.
LINE_BYTES = 8192


@dataclass(frozen=True)
class Part:
    """One process: its name in the logs, its command, and how to tell that it is ready."""

    name: str
    argv: Sequence[str]
    ready: Callable[[], bool]
    environment: Mapping[str, str] | None = None
    grace_s: float = 10.0
    restart_limit_s: float = RESTART_LIMIT_S


@dataclass
class _Running:
    part: Part
    process: subprocess.Popen[bytes]
    started: float
    delay_s: float = RESTART_S
    restart_at: float | None = None
    was_ready: bool = False
    ever_ready: bool = False
    output: threading.Thread | None = field(default=None, repr=False)


class Supervisor:
    """Runs parts. Must be used from a single thread that outlives the parts (see ``spawn``)."""

    def __init__(self, parts: Sequence[Part], log_folder: Path, show: Callable[[str, str], None]) -> None:
        log_folder.mkdir(parents=True, exist_ok=True)
        self._show = show
        self._logs = {part.name: _log_file(log_folder / f"{part.name}.log") for part in parts}
        self._last_errors: dict[str, str] = {}
        self._running = [self._start(part) for part in parts]

    def _start(self, part: Part) -> _Running:
        process = spawn(part.argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=part.environment)
        running = _Running(part, process, time.monotonic())
        running.output = threading.Thread(target=self._copy, args=(part.name, process), daemon=True)
        running.output.start()
        return running

    def _copy(self, name: str, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in iter(lambda: process.stdout.readline(LINE_BYTES), b""):  # type: ignore[union-attr]
            text = line.decode("utf-8", "replace").rstrip()
            if text:
                self._logs[name].info(text)
                self._show(name, text)
                if text.startswith("error: "):
                    self._last_errors[name] = text.removeprefix("error: ")
        process.stdout.close()

    def tick(self) -> None:
        """Check all parts: note which have become ready, and restart those that died.

        Raises:
            SettingsError: a part that was never ready reports invalid settings, so restarting it cannot help.
        """
        now = time.monotonic()
        for running in self._running:
            if running.process.poll() is None:
                if not running.was_ready:
                    running.was_ready = running.part.ready()
                    running.ever_ready = running.ever_ready or running.was_ready
                if now - running.started > STEADY_S:
                    running.delay_s = RESTART_S
            elif running.restart_at is None:
                status = running.process.returncode
                if status == SettingsError.exit_code and not running.ever_ready:
                    raise self._refused(running)
                self._show(running.part.name, f"exited with status {status}; restarting in {running.delay_s:g} s")
                running.restart_at = now + running.delay_s
            elif now >= running.restart_at:
                fresh = self._start(running.part)
                running.process, running.output = fresh.process, fresh.output
                running.started, running.restart_at, running.was_ready = now, None, False
                running.delay_s = min(running.delay_s * 2, running.part.restart_limit_s)

    def _refused(self, running: _Running) -> SettingsError:
        if running.output is not None:
            running.output.join(2)  # its last line may not have been read yet
        name = running.part.name
        return SettingsError(f"{name}: {self._last_errors.get(name, 'its settings are invalid; see its log')}")

    def waiting_for(self) -> list[str]:
        """Names of the parts that are not ready yet."""
        return [running.part.name for running in self._running if not running.was_ready]

    def dead(self) -> list[str]:
        """Names of the parts that have exited and have not been restarted yet."""
        return [running.part.name for running in self._running if running.process.poll() is not None]

    def pids(self) -> dict[str, int]:
        """Process IDs by part name."""
        return {running.part.name: running.process.pid for running in self._running}

    def stop(self, name: str) -> None:
        """Stop one part and don't restart it."""
        for running in [r for r in self._running if r.part.name == name]:
            self._running.remove(running)
            kill(running.process, grace_s=running.part.grace_s)
            if running.output is not None:
                running.output.join(2)

    def stop_all(self) -> None:
        """Stop all parts in reverse order of their start."""
        for running in list(reversed(self._running)):
            self.stop(running.part.name)


def _log_file(path: Path) -> logging.Logger:
    logger = logging.getLogger(f"streamwave.parts.{path.stem}")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    for old in list(logger.handlers):
        logger.removeHandler(old)
        old.close()
    handler = RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=3, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    return logger


def inherited(**extra: str) -> dict[str, str]:
    """This process's environment plus ``extra``."""
    return {**os.environ, **extra}
