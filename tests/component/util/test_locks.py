"""Who holds a lock: the process that really does, and never one that only looks like it."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamwave.util.locks import holds, lock_holder, signal_holder

HOLD = """
import fcntl, sys
file = open(sys.argv[1], sys.argv[2])
fcntl.flock(file, getattr(fcntl, sys.argv[3]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate(timeout=60)


def hold(started: list[subprocess.Popen[bytes]], path: Path, how: str = "LOCK_EX") -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), "ab", how], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    started.append(process)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def test_the_holder_of_an_exclusive_lock(tmp_path: Path, processes: list[subprocess.Popen[bytes]]) -> None:
    path = tmp_path / "run.lock"
    assert lock_holder(path) is None
    path.touch()
    assert lock_holder(path) is None
    process = hold(processes, path)
    assert lock_holder(path) == process.pid
    assert not holds(os.getpid(), path)
    assert signal_holder(process.pid, path, signal.SIGTERM)
    assert process.wait(60) == -signal.SIGTERM
    assert lock_holder(path) is None
    assert not signal_holder(process.pid, path, signal.SIGTERM)


def test_who_only_looks_at_a_lock_does_not_hold_it(tmp_path: Path, processes: list[subprocess.Popen[bytes]]) -> None:
    path = tmp_path / "run.lock"
    reader = hold(processes, path, "LOCK_SH")
    assert lock_holder(path) is None
    assert not signal_holder(reader.pid, path, signal.SIGKILL)
    assert reader.poll() is None


def test_a_file_with_the_same_inode_on_another_disk(processes: list[subprocess.Popen[bytes]]) -> None:
    """Inode numbers are counted per file system: two files can share one."""
    here, there = Path(tempfile.mkdtemp(dir="/dev/shm")), Path(tempfile.mkdtemp(dir="/dev/shm"))
    try:
        ours, stranger = here / "run.lock", there / "other"
        ours.touch()
        other = hold(processes, stranger)

        class Twin(type(ours)):  # type: ignore[misc]
            """Our file, if the number of its inode were that of the stranger's file."""

            def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
                found, twin = super().stat(), stranger.stat()
                return os.stat_result((found.st_mode, twin.st_ino, found.st_dev + 1, *found[3:]))

        assert lock_holder(Twin(ours)) is None
        assert not signal_holder(other.pid, Twin(ours), signal.SIGKILL)
        assert other.poll() is None
    finally:
        shutil.rmtree(here)
        shutil.rmtree(there)


def test_it_is_never_ourselves(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert holds(os.getpid(), path)
        assert lock_holder(path) is None
        assert not signal_holder(os.getpid(), path, signal.SIGKILL)


def test_a_holder_through_another_name_of_the_file(tmp_path: Path, processes: list[subprocess.Popen[bytes]]) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    process = hold(processes, tmp_path / "link" / "run.lock")
    assert lock_holder(tmp_path / "real" / "run.lock") == process.pid


COUNT = """
import sys, time
from pathlib import Path
from streamwave.util.locks import passing_lock
lock, inside = map(Path, sys.argv[1:3])
for _ in range(100):
    with passing_lock(lock):
        inside.mkdir()  # fails if somebody else is inside
        time.sleep(0.0005)
        inside.rmdir()
"""


def test_a_passing_lock_lets_one_in_at_a_time_and_leaves_no_file(tmp_path: Path) -> None:
    lock, command = tmp_path / "list.lock", [sys.executable, "-c", COUNT, str(tmp_path / "list.lock")]
    lock.touch()  # of somebody who was killed
    counting = [subprocess.Popen([*command, str(tmp_path / "inside")]) for _ in range(4)]
    try:
        assert [process.wait(60) for process in counting] == [0] * 4
    finally:
        for process in counting:
            process.kill()
            process.wait(60)
    assert list(tmp_path.iterdir()) == []
