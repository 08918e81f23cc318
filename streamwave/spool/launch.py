"""Start a segmenter as a process of its own, and end it, also from another process than the one that started it."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from pydantic import TypeAdapter

from streamwave.ffmpeg.process import kill, spawn, wait_until
from streamwave.locks import signal_holder
from streamwave.private import python_argv
from streamwave.spool.journal import LOCK, writer_alive, writer_pid
from streamwave.spool.options import LOG_FILE
from streamwave.spool.reader import STOP_LIMIT_S
from streamwave.spool.segmenter import Options


def start_segmenter(options: Options, *, survive: bool = False) -> subprocess.Popen[bytes]:
    """Run the segmenter for ``options``; its log is ``segmenter.log`` in the spool. ``survive``: it outlives us.

    The source may hold a key or a password, so it travels through standard input: every user of the machine can read a
    command line. There stands only the spool's folder, by which people tell segmenters apart.
    """
    options.spool.mkdir(parents=True, exist_ok=True)
    with (options.spool / LOG_FILE).open("ab") as log:
        process = spawn(
            python_argv("streamwave.spool.segmenter", str(options.spool)),
            survive=survive,
            limits=options.limits.process(),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            # As Python knows it: what ``source_hosts.confine`` has told libavformat in this process is not the segmenter's.
            env=dict(os.environ),
        )
    assert process.stdin is not None
    # Much smaller than what a pipe holds, so nobody waits; a process that is gone already tells so by its exit.
    with suppress(BrokenPipeError):
        process.stdin.write(TypeAdapter(Options).dump_json(options))
    with suppress(BrokenPipeError):
        process.stdin.close()
    return process


def stop_segmenter(process: subprocess.Popen[bytes], *, graceful: bool) -> None:
    """End a segmenter: with its last chunk and its end record if ``graceful``, else at once."""
    kill(process, grace_s=STOP_LIMIT_S + 2 if graceful else 0.0)


def request_stop(spool: Path, *, at_once: bool = False) -> bool:
    """Ask the segmenter that writes ``spool`` to end gracefully, whoever started it; whether there was one.

    Returns at once; the journal's end record says when it is done. That takes up to ``STOP_LIMIT_S`` while a publisher
    goes on sending, because all that has arrived is taken in; not so with ``at_once``.
    """
    pid = writer_pid(spool)
    return pid is not None and signal_holder(pid, spool / LOCK, signal.SIGUSR1 if at_once else signal.SIGTERM)


def stop_and_wait(spool: Path, timeout_s: float = STOP_LIMIT_S + 3) -> bool:
    """``request_stop``, then wait until the writer is gone; whether it is."""
    request_stop(spool)
    return wait_until(lambda: not writer_alive(spool), timeout_s)
