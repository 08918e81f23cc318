"""Hosts that share only a network: ours and an attacker's, or several. Each is a network namespace of this machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import wait_for


@dataclass(frozen=True)
class Host:
    """A network namespace that exists as long as process ``pid``; ``address`` is its address for the other host."""

    pid: int
    address: str

    def command(self, *argv: str) -> list[str]:
        """``argv`` as a command of this host."""
        return [*_enter(self.pid), *argv]

    def run(self, *argv: str, timeout_s: float = 60) -> str:
        """Run a command on this host to its end, and return its output."""
        done = subprocess.run(self.command(*argv), capture_output=True, text=True, timeout=timeout_s, check=False)
        assert done.returncode == 0, (argv, done.stdout[-2000:], done.stderr[-2000:])
        return done.stdout


def _enter(pid: int) -> list[str]:
    # Without root, create a user namespace, in which this user is root.
    user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
    return ["nsenter", f"--target={pid}", *user, "--net", "--"]


@contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Our host and an attacker's, connected by a virtual cable. Neither can see anything else of this machine's network."""
    with _held(_first()) as ours, _held([*_enter(ours), "unshare", "--net"]) as strangers:
        us, stranger = Host(ours, "10.213.77.1"), Host(strangers, "10.213.77.2")
        us.run("ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", str(strangers))
        for host in (us, stranger):
            host.run("ip", "addr", "add", f"{host.address}/30", "dev", "cable")
            host.run("ip", "link", "set", "cable", "up")
            host.run("ip", "link", "set", "lo", "up")
        yield us, stranger


@contextmanager
def switched_hosts(count: int) -> Iterator[list[Host]]:
    """``count`` hosts at one switch. The first one is ours, and has the switch; ``cable`` N of it leads to host N."""
    with ExitStack() as stack:
        pids = [stack.enter_context(_held(_first()))]
        pids += [stack.enter_context(_held([*_enter(pids[0]), "unshare", "--net"])) for _ in range(1, count)]
        found = [Host(pid, f"10.213.78.{number}") for number, pid in enumerate(pids, 1)]
        us = found[0]
        us.run("ip", "link", "add", "switch", "type", "bridge")
        for number, host in enumerate(found[1:], 1):
            us.run(
                "ip", "link", "add", f"cable{number}", "type", "veth", "peer", "name", "switch", "netns", str(host.pid)
            )
            us.run("ip", "link", "set", f"cable{number}", "master", "switch", "up")
        for host in found:
            host.run("ip", "addr", "add", f"{host.address}/24", "dev", "switch")
            host.run("ip", "link", "set", "switch", "up")
            host.run("ip", "link", "set", "lo", "up")
        yield found


def _first() -> list[str]:
    return ["unshare", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]), "--net"]


@contextmanager
def _held(unshare: Sequence[str]) -> Iterator[int]:
    """Keep a namespace open, and yield the PID by which it can be entered."""
    with subprocess.Popen([*unshare, "sleep", "3600"], stdin=subprocess.DEVNULL) as process:
        try:
            own = os.readlink("/proc/self/ns/net")
            wait_for(lambda: _namespace(process.pid) not in (own, None), "a network namespace")
            yield process.pid
        finally:
            process.kill()


def _namespace(pid: int) -> str | None:
    try:
        # Before that, the process is still nsenter or unshare, in other namespaces.
        arrived = Path(f"/proc/{pid}/comm").read_text().strip() == "sleep"
        return os.readlink(f"/proc/{pid}/ns/net") if arrived else None
    except OSError:
        return None
