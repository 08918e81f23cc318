"""Hosts that have only a part of a core, by the kernel's CPU quotas (control groups, version 1 or 2)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.hosts import Host

#: A quota is for so long. With the kernel's default of 0.1 s, a process would stand still for up to 60 ms at a time.
PERIOD_US = 10_000
_ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class SlowHost(Host):
    """A host whose commands, together, get what their control ``group`` may use."""

    group: Path

    def allow(self, cores: float) -> None:
        """Let its commands use ``cores`` from now on."""
        quota = str(round(cores * PERIOD_US))
        if (self.group / "cpu.max").exists():
            (self.group / "cpu.max").write_text(f"{quota} {PERIOD_US}")
        else:
            (self.group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (self.group / "cpu.cfs_quota_us").write_text(quota)

    def command(self, *argv: str) -> list[str]:
        """``argv`` as a command of this host."""
        return ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(self.group), *super().command(*argv)]


@contextmanager
def slow_host(host: Host, cores: float) -> Iterator[SlowHost]:
    """``host`` with ``cores``, which may be less than one. All of its processes must have ended at the end.

    Raises:
        OSError: this user may not set quotas.
    """
    unified = (_ROOT / "cgroup.controllers").exists()
    group = (_ROOT if unified else _ROOT / "cpu") / f"streamwave-bench-{os.getpid()}-{host.pid}"
    group.mkdir()
    try:
        slow = SlowHost(host.pid, host.address, group)
        slow.allow(cores)
        yield slow
    finally:
        _remove(group)


def _remove(group: Path) -> None:
    end = time.monotonic() + 10
    while True:
        try:
            group.rmdir()
            return
        except OSError:  # killed processes are still in it
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
