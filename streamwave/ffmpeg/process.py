"""The only launcher of processes in the library: each one has a deadline, a bounded tail of stderr, and dies with us."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from streamwave.errors import FFmpegError, TooCostlyError
from streamwave.ffmpeg.limits import ProcessLimits, exceeded
from streamwave.util.confine import FILES, guarded

STDERR_TAIL_BYTES = 8192
#: FFmpeg takes all cores. What receives, packages and publishes needs little, but at once: it comes first.
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
    """Start ``argv`` without a shell, in a session of its own, without our standard input, within ``limits``.

    Unless ``survive``, the kernel kills it when the thread that called this ends, however that happens
    (``PR_SET_PDEATHSIG``): call from a thread that lives as long as the process should. It can gain no privileges, and
    if ``confined`` root's are taken from it, but for reading and writing files.
    """
    # setpriv does it after the fork, without running Python between fork and exec, which can lock up in threads.
    wrapper = guarded(None if survive else "KILL", keep=FILES if confined else None)
    command = [*wrapper, *argv]
    before = None if survive or wrapper else _die_with_parent
    options.setdefault("stdin", subprocess.DEVNULL)
    with _undisturbed():
        process = subprocess.Popen(command, start_new_session=True, preexec_fn=before, close_fds=True, **options)  # type: ignore[call-overload]
        if limits is not None:
            # It has got no further than its dynamic linker by now, and what it had then counts as well.
            limits.apply(process.pid)
        return process  # type: ignore[no-any-return]


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Put off Ctrl-C and SIGTERM until the process is in the caller's hands, who then ends it like any other.

    An interruption inside of Popen would leave a process that nobody knows of, and that outlives us if it has not yet
    come to asking for its own end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are handled in the main thread only
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
            # Handled again a moment later, when the caller has the process.
            threading.Timer(0.05, os.kill, (os.getpid(), came)).start()


def kill(process: subprocess.Popen[bytes], *, grace_s: float = 0.0, first: int = signal.SIGTERM) -> int:
    """End ``process`` and its group: signal ``first``, wait ``grace_s``, then SIGKILL; reap it and return its status."""
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
    """Runs FFmpeg processes, at most ``slots`` of them at once, and can end them all.

    Thread-safe. After ``close`` nothing new is started, so that a flow that is being cancelled cannot leave any behind.
    """

    def __init__(self, slots: int) -> None:
        self._slots = threading.BoundedSemaphore(slots)
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed.is_set()

    def run(
        self, argv: Sequence[str], *, what: str, timeout_s: float, cwd: Path | None = None,
        limits: ProcessLimits | None = None,
    ) -> str:  # fmt: skip
        """Run ``argv`` to its end and return the tail of its stderr.

        Waits for a free slot first; ``timeout_s`` counts from the start of the process.

        Raises:
            TooCostlyError: it exceeded ``limits``.
            FFmpegError: it exited with another status than 0, exceeded ``timeout_s``, or was ended by ``close``.
        """
        with self._slot(what), tempfile.TemporaryFile() as stderr:
            with self._lock:
                if self.closed:
                    raise FFmpegError(f"{what}: not started, the run is ending", tuple(argv))
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
        while not self._slots.acquire(timeout=0.5):
            if self.closed:
                raise FFmpegError(f"{what}: not started, the run is ending")
        try:
            yield
        finally:
            self._slots.release()

    def close(self) -> None:
        """Kill what runs and refuse what comes."""
        with self._lock:
            self._closed.set()
            running = list(self._running)
        for process in running:
            _signal_group(process, signal.SIGKILL)

    def reopen(self) -> None:
        """Allow starts again (the next flow run in the same process)."""
        self._closed.clear()


def _tail(stream: object) -> str:
    size = stream.seek(0, os.SEEK_END)  # type: ignore[attr-defined]
    stream.seek(max(0, size - STDERR_TAIL_BYTES))  # type: ignore[attr-defined]
    data: bytes = stream.read()  # type: ignore[attr-defined]
    return data.decode("utf-8", "replace")


_launcher: Launcher | None = None
_launcher_lock = threading.Lock()


def launcher(slots: int = 0) -> Launcher:
    """The launcher of this process; ``slots`` (0: as many as cores) counts only in the first call."""
    global _launcher
    with _launcher_lock:
        if _launcher is None:
            _launcher = Launcher(slots or os.cpu_count() or 1)
        return _launcher
