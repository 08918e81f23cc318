"""The only launcher of media processes. Each has a deadline, keeps a bounded tail of stderr, and dies with its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from streamwave.errors import FFmpegError, TooCostlyError
from streamwave.ffmpeg.limits import ProcessLimits, exceeded
from streamwave.ffmpeg.meter import Slots
from streamwave.util.confine import FILES, guarded

STDERR_TAIL_BYTES = 8192
#: FFmpeg uses all cores. Receiving, packaging and publishing need little CPU time, but promptly, so they have priority.
NICENESS = 5
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def spawn(
    argv: Sequence[str],
    *,
    survive: bool = False,
    confined: bool = False,
    limits: ProcessLimits | None = None,
    **options: object,
) -> subprocess.Popen[bytes]:
    """Start ``argv`` without a shell, in a new session, without standard input by default, within ``limits``.

    Unless ``survive``, the kernel kills it when the calling thread ends for whatever reason (``PR_SET_PDEATHSIG``), so call
    this from a thread that lives as long as the process should. The process can gain no privileges; if ``confined``, it
    also loses root's capabilities except for reading and writing files.
    """
    # setpriv does this after the fork, so no Python code runs between fork and exec, where threads could deadlock it.
    wrapper = guarded(None if survive else "KILL", keep=FILES if confined else None)
    command = [*wrapper, *argv]
    before = None if survive or wrapper else _die_with_parent
    options.setdefault("stdin", subprocess.DEVNULL)
    with _undisturbed():
        process = subprocess.Popen(command, start_new_session=True, preexec_fn=before, close_fds=True, **options)  # type: ignore[call-overload]
        if limits is not None:
            # So far it has got no further than the dynamic linker, and memory that it already has counts too.
            limits.apply(process.pid)
        return process  # type: ignore[no-any-return]


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Delay Ctrl-C and SIGTERM until the caller holds the process, and can end it as usual.

    If Popen were interrupted, nobody would know of the process, and it would outlive us unless it had already set its
    parent-death signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread handles signals
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers if callable(signal.getsignal(number))}
    arrived: list[int] = []
    for number in before:
        signal.signal(number, lambda number, _: arrived.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for came in arrived:
            # Redelivered a moment later, when the caller holds the process.
            threading.Timer(0.05, os.kill, (os.getpid(), came)).start()


def kill(process: subprocess.Popen[bytes], *, grace_s: float = 0.0, first: int = signal.SIGTERM) -> int:
    """End ``process`` and its group: signal ``first``, wait ``grace_s`` seconds, then SIGKILL; reap it, return its status."""
    if process.poll() is None and grace_s > 0:
        _signal_group(process, first)
        try:
            return process.wait(grace_s)
        except subprocess.TimeoutExpired:
            pass
    _signal_group(process, signal.SIGKILL)
    return process.wait(10)


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    if process.poll() is not None:
        return
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        process.send_signal(number)


class Launcher:
    """Runs at most ``slots`` FFmpeg processes at once, and can kill them all. Thread-safe.

    After ``close`` it starts no more processes, so that a run that is being cancelled leaves none behind.
    """

    def __init__(self, slots: int) -> None:
        self._slots = threading.BoundedSemaphore(slots)
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._count, self._waiting = slots, 0

    @property
    def slots(self) -> Slots:
        """The slots, as those of one worker, which is this machine."""
        with self._lock:
            busy = len(self._running)
        idle = int(busy < self._count)
        return Slots(socket.gethostname(), 1, self._count, busy, self._waiting, idle)

    @property
    def closed(self) -> bool:
        """Whether ``close`` has been called."""
        return self._closed.is_set()

    def run(
        self, argv: Sequence[str], *, what: str, timeout_s: float, cwd: Path | None = None,
        limits: ProcessLimits | None = None, on_slot: Callable[[], None] = lambda: None,
    ) -> str:  # fmt: skip
        """Run ``argv`` to its end and return the tail of its stderr.

        Waits for a free slot first, and calls ``on_slot`` when it has one; ``timeout_s`` counts from the start of the process.

        Raises:
            TooCostlyError: it exceeded ``limits``.
            FFmpegError: its exit status was not 0, it exceeded ``timeout_s``, or ``close`` killed it.
        """
        with self._slot(what), tempfile.TemporaryFile() as stderr:
            on_slot()
            with self._lock:
                if self.closed:
                    raise FFmpegError(f"{what}: not started because the run is ending", tuple(argv))
                try:
                    process = spawn(
                        argv, stdout=subprocess.DEVNULL, stderr=stderr, cwd=cwd, confined=True, limits=limits
                    )
                except OSError as error:
                    raise FFmpegError(f"{what}: {argv[0]} cannot be started ({error.strerror})", tuple(argv)) from None
                self._running.add(process)
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)  # its threads inherit it
            timed_out = False
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                timed_out = True
            finally:
                kill(process)
                with self._lock:
                    self._running.discard(process)
            tail = _tail(stderr)
        if timed_out:
            raise FFmpegError(
                f"{what}: FFmpeg took longer than {timeout_s:g} s and was killed", tuple(argv), None, tail
            )
        if process.returncode != 0:
            if limits is not None and (why := exceeded(limits, process.returncode, tail)) is not None:
                raise TooCostlyError(f"{what}: FFmpeg {why}", tuple(argv), process.returncode, tail)
            raise FFmpegError(f"{what}: FFmpeg failed", tuple(argv), process.returncode, tail)
        return tail

    @contextmanager
    def _slot(self, what: str) -> Iterator[None]:
        with self._lock:
            self._waiting += 1
        try:
            while not self._slots.acquire(timeout=0.5):
                if self.closed:
                    raise FFmpegError(f"{what}: not started because the run is ending")
        finally:
            with self._lock:
                self._waiting -= 1
        try:
            yield
        finally:
            self._slots.release()

    def close(self) -> None:
        """Kill all running processes and start no more."""
        with self._lock:
            self._closed.set()
            running = list(self._running)
        for process in running:
            _signal_group(process, signal.SIGKILL)

    def reopen(self) -> None:
        """Allow new processes again (for the next flow run in this process)."""
        self._closed.clear()


def _tail(stream: object) -> str:
    size = stream.seek(0, os.SEEK_END)  # type: ignore[attr-defined]
    stream.seek(max(0, size - STDERR_TAIL_BYTES))  # type: ignore[attr-defined]
    data: bytes = stream.read()  # type: ignore[attr-defined]
    return data.decode("utf-8", "replace")


_launcher: Launcher | None = None
_launcher_lock = threading.Lock()


def launcher(slots: int = 0) -> Launcher:
    """The launcher of this process; only the first call's ``slots`` is used (0: one per core)."""
    global _launcher
    with _launcher_lock:
        if _launcher is None:
            _launcher = Launcher(slots or os.cpu_count() or 1)
        return _launcher
