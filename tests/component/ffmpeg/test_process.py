"""The launcher: deadlines, groups that do not want to die, owners that are killed, and an end after which nothing starts."""

from __future__ import annotations

import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from streamwave.errors import FFmpegError, TooCostlyError
from streamwave.ffmpeg.limits import ProcessLimits
from streamwave.ffmpeg.process import NICENESS, STDERR_TAIL_BYTES, Launcher, kill, spawn
from streamwave.util.waiting import wait_until
from tests.support.processes import alive, wait_for

#: A program that starts a child of its own and, like it, ignores every request to end.
STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = os.fork()
if child:
    open(sys.argv[1], "w").write(f"{os.getpid()} {child}\\n")
time.sleep(600)
"""


def python(*arguments: str) -> list[str]:
    return [sys.executable, "-c", *arguments]


def pids(path: Path) -> list[int]:
    """The process ids that a program wrote, once it has written them all."""
    return wait_for(
        lambda: path.exists() and path.read_text().endswith("\n") and [*map(int, path.read_text().split())] or [],
        "its pids",
        120,
    )


def gone(numbers: list[int]) -> bool:
    return wait_until(lambda: not any(map(alive, numbers)), 60)


def test_returns_what_was_said_last() -> None:
    said = Launcher(1).run(python("import sys; sys.stderr.write('x' * 100_000 + 'the end')"), what="w", timeout_s=60)
    assert said.endswith("the end") and len(said) == STDERR_TAIL_BYTES


def test_it_gives_way_to_those_who_wait_for_it() -> None:
    due = os.nice(0) + NICENESS
    # It is made so after it has begun.
    script = f"import os, sys, time\nwhile os.nice(0) != {due}: time.sleep(0.01)\nprint(os.nice(0), file=sys.stderr)"
    assert int(Launcher(1).run(python(script), what="w", timeout_s=60)) == due


def test_failure_says_what_why_and_how() -> None:
    argv = python("import sys; print('a lot', file=sys.stderr); print('no such codec', file=sys.stderr); sys.exit(7)")
    with pytest.raises(FFmpegError) as caught:
        Launcher(1).run(argv, what="chunk 3 to 720p", timeout_s=60)
    error = caught.value
    assert str(error) == "chunk 3 to 720p: FFmpeg failed (exit status 7): no such codec"
    assert (error.returncode, error.command, error.stderr_tail) == (7, tuple(argv), "a lot\nno such codec\n")


def test_a_signal_is_told_from_a_status() -> None:
    with pytest.raises(FFmpegError) as caught:
        Launcher(1).run(python("import os; os.kill(os.getpid(), 9)"), what="w", timeout_s=60)
    assert caught.value.returncode == -signal.SIGKILL


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(FFmpegError, match="w: /nowhere/ffmpeg cannot be started|w: FFmpeg failed"):
        Launcher(1).run(["/nowhere/ffmpeg"], what="w", timeout_s=60)


def test_a_deadline_ends_the_whole_group(tmp_path: Path) -> None:
    # As STUBBORN, and there at once, so that it has begun long before its time is over.
    script = "trap '' TERM; sleep 600 & echo $$ $! > \"$0\"; wait"
    begun = time.monotonic()
    with pytest.raises(FFmpegError, match="took longer than 3 s and was killed"):
        Launcher(1).run(["sh", "-c", script, str(tmp_path / "pids")], what="w", timeout_s=3)
    assert time.monotonic() - begun < 60
    assert gone(pids(tmp_path / "pids"))


def test_kill_asks_first_and_insists(tmp_path: Path) -> None:
    polite = spawn(
        python(
            "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(3)); print(flush=True); time.sleep(60)"
        ),
        stdout=subprocess.PIPE,
    )
    assert polite.stdout is not None
    with polite.stdout:
        polite.stdout.readline()
        assert kill(polite, grace_s=10) == 3
    stubborn = spawn(python(STUBBORN, str(tmp_path / "pids")))
    numbers = pids(tmp_path / "pids")
    assert kill(stubborn, grace_s=0.2) == -signal.SIGKILL
    assert gone(numbers)
    assert kill(stubborn) == -signal.SIGKILL  # it is dead already: harmless


def test_close_ends_what_runs_and_refuses_what_comes(tmp_path: Path) -> None:
    launcher, failures = Launcher(1), []

    def run(name: str) -> None:
        try:
            launcher.run(python(STUBBORN, str(tmp_path / name)), what=name, timeout_s=60)
        except FFmpegError as error:
            failures.append(str(error))

    threads = [threading.Thread(target=run, args=(name,)) for name in ("running", "waiting")]
    threads[0].start()
    numbers = pids(tmp_path / "running")
    threads[1].start()
    launcher.close()
    for thread in threads:
        thread.join(60)
    assert gone(numbers) and launcher.closed
    assert sorted(failures)[0].startswith("running: FFmpeg failed") and "waiting: not started" in sorted(failures)[1]
    assert not (tmp_path / "waiting").exists()
    with pytest.raises(FFmpegError, match="late: not started because the run is ending"):
        launcher.run(python("pass"), what="late", timeout_s=5)
    launcher.reopen()
    launcher.run(python("pass"), what="again", timeout_s=60)


def test_no_more_than_slots_at_once(tmp_path: Path) -> None:
    # Each notes how many of them are there when it starts.
    program = (
        "import os, sys, time; folder = sys.argv[1]; path = f'{folder}/{os.getpid()}'; open(path, 'w').close(); "
        "print(len(os.listdir(folder)), file=sys.stderr); time.sleep(0.1); os.unlink(path)"
    )
    launcher, seen = Launcher(2), []
    threads = [
        threading.Thread(
            target=lambda: seen.append(int(launcher.run(python(program, str(tmp_path)), what="w", timeout_s=60)))
        )
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(seen) == 6 and max(seen) <= 2


OWNER = """
import sys
sys.path.insert(0, sys.argv[3])
from streamwave.ffmpeg.process import spawn
survive = sys.argv[2] == "survive"
spawn([sys.executable, "-c", sys.argv[4], sys.argv[1]], survive=survive)
import time
time.sleep(600)
"""


@pytest.mark.parametrize("fate", ["dies", "survive"])
def test_processes_die_with_an_owner_that_is_killed_unless_they_shall_survive(tmp_path: Path, fate: str) -> None:
    root = str(Path(__file__).parents[3])
    program = "import os, sys, time; open(sys.argv[1], 'w').write(f'{os.getpid()}\\n'); time.sleep(600)"
    owner = subprocess.Popen(python(OWNER, str(tmp_path / "pids"), fate, root, program))
    numbers: list[int] = []
    try:
        numbers = pids(tmp_path / "pids")
        owner.kill()
        owner.wait(60)
        if fate == "dies":
            assert gone(numbers)
        else:
            assert alive(numbers[0])
    finally:
        owner.kill()
        for number in numbers:
            if alive(number):
                os.kill(number, signal.SIGKILL)


def test_nothing_is_inherited(tmp_path: Path) -> None:
    """No descriptor of ours, no terminal, a session of its own."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    program = "import os; print(os.getsid(0) == os.getpid(), os.read(0, 1), len(os.listdir('/proc/self/fd')))"
    process = spawn(python(program), stdout=subprocess.PIPE)
    try:
        assert process.communicate(timeout=60)[0].split() == [b"True", b"b''", b"4"]  # the fourth is the listing itself
    finally:
        os.close(reader)
        os.close(writer)


def test_wait_until() -> None:
    answers = iter([False, False, True])
    assert wait_until(lambda: next(answers), 5, 0.001)
    assert not wait_until(lambda: False, 0.01, 0.001)


@pytest.mark.parametrize(
    ("program", "limits", "message"),
    [
        (
            "try: bytearray(600 << 20)\nexcept MemoryError: sys.exit('x264 [error]: malloc of size 600000 failed')",
            ProcessLimits(memory_bytes=200 << 20),
            "w: FFmpeg needs more memory than STREAMWAVE_FFMPEG_MEMORY_MB allows (200 MB)",
        ),
        (
            "while True: pass",
            ProcessLimits(cpu_s=1),
            "w: FFmpeg used more than the 1 s of CPU time that STREAMWAVE_CHUNK_CPU_FACTOR allows for such a chunk",
        ),
        (
            "signal.signal(signal.SIGXFSZ, signal.SIG_DFL); open(sys.argv[1], 'wb').write(bytes(3 << 20))",
            ProcessLimits(file_bytes=1 << 20),
            "w: FFmpeg wrote more than 1 MB, far more than its renditions should need",
        ),
    ],
    ids=["memory", "CPU time", "size of files"],
)
def test_a_limit_ends_it_and_says_which(tmp_path: Path, program: str, limits: ProcessLimits, message: str) -> None:
    argv = python(f"import signal, sys\n{program}", str(tmp_path / "out"))
    with pytest.raises(TooCostlyError) as caught:
        Launcher(1).run(argv, what="w", timeout_s=60, limits=limits)
    assert str(caught.value) == message
    assert str(pickle.loads(pickle.dumps(caught.value))) == message


def test_limits_hold_from_the_start_and_are_never_above_ours(tmp_path: Path) -> None:
    program = "print(open('/proc/self/limits').read())"
    limits = ProcessLimits(memory_bytes=300 << 20, cpu_s=40, file_bytes=5 << 20, open_files=100)
    process = spawn(python(program), stdout=subprocess.PIPE, limits=limits)
    said = process.communicate(timeout=60)[0].decode()
    told = {found[1]: found[2].split() for line in said.splitlines() if (found := re.match(r"Max (.{21})(.*)", line))}
    assert {name.strip(): values[:2] for name, values in told.items()}.items() >= {
        "data size": [str(300 << 20)] * 2,
        "cpu time": ["40", "45"],
        "file size": [str(5 << 20)] * 2,
        "open files": ["100", "100"],
        "core file size": ["0", "0"],
    }.items()
    inner = f"""
import resource, subprocess, sys
sys.path.insert(0, {str(Path(__file__).parents[3])!r})
from streamwave.ffmpeg.limits import ProcessLimits
from streamwave.ffmpeg.process import spawn
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
spawn([sys.executable, "-c", "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE))"],
      limits=ProcessLimits(open_files=100)).wait(20)
"""
    done = subprocess.run(python(inner), capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "(64, 64)"


def test_what_makes_no_progress_any_more_is_ended_by_its_cpu_time() -> None:
    program = f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).parents[3])!r})
from streamwave.ffmpeg.limits import CpuLease
lease = CpuLease(2)
while time.process_time() < 4:
    lease.renew()
print("went on", flush=True)
while True:
    pass
"""
    done = subprocess.run(python(program), capture_output=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == (b"went on\n", -signal.SIGXCPU)
