"""Start a segmenter as a process of its own, and end it."""

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
    """Run the segmenter for ``options``; its log is ``segmenter.log`` in the spool. ``survive``: it outlives this process.

    The options are passed through standard input, because the source may contain a key or a password, and every user of the
    machine can read a command line. The command line only names the spool's folder, which tells segmenters apart.
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
            # Python's copy, without the variables that ``source_hosts.confine`` has set for libavformat in this process.
            env=dict(os.environ),
        )
    assert process.stdin is not None
    # The options fit into a pipe, so this does not block. A process that has gone already is noticed by its exit.
    with suppress(BrokenPipeError):
        process.stdin.write(TypeAdapter(Options).dump_json(options))
    with suppress(BrokenPipeError):
        process.stdin.close()
    return process


def stop_segmenter(process: subprocess.Popen[bytes], *, graceful: bool) -> None:
    """End a segmenter: with its last chunk and its end record if ``graceful``, else at once."""
    kill(process, grace_s=STOP_LIMIT_S + 2 if graceful else 0.0)
