"""Start a segmenter as a process of its own, and end it from the process that started it."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress

from pydantic import TypeAdapter

from streamwave.ffmpeg.process import kill, spawn
from streamwave.spool.options import LOG_FILE, Options
from streamwave.spool.stop import STOP_LIMIT_S
from streamwave.util.private import python_argv


def start_segmenter(options: Options, *, survive: bool = False) -> subprocess.Popen[bytes]:
    """Run the segmenter for ``options``; its log is ``segmenter.log`` in the spool. ``survive``: it outlives us.

    The source may hold a key or a password, so it travels through standard input: every user of the machine can read a
    command line. There stands only the spool's folder, by which people tell segmenters apart.
    """
    options.spool.mkdir(parents=True, exist_ok=True)
    with (options.spool / LOG_FILE).open("ab") as log:
        process = spawn(
            python_argv("streamwave.receive.segmenter", str(options.spool)),
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
