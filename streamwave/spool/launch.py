"""Start a segmenter as a process of its own."""

from __future__ import annotations

import subprocess
import sys

from pydantic import TypeAdapter

from streamwave.ffmpeg.process import kill, spawn
from streamwave.spool.segmenter import STOP_LIMIT_S, Options


def start_segmenter(options: Options, *, survive: bool = False) -> subprocess.Popen[bytes]:
    """Run the segmenter for ``options``; its log is ``segmenter.log`` in the spool. ``survive``: it outlives us."""
    options.spool.mkdir(parents=True, exist_ok=True)
    arguments = TypeAdapter(Options).dump_json(options).decode()
    with (options.spool / "segmenter.log").open("ab") as log:
        return spawn(
            [sys.executable, "-m", "streamwave.spool.segmenter", arguments], survive=survive, stdout=log, stderr=log
        )


def stop_segmenter(process: subprocess.Popen[bytes], *, graceful: bool) -> None:
    """End a segmenter: with its last chunk and its end record if ``graceful``, else at once."""
    kill(process, grace_s=STOP_LIMIT_S + 2 if graceful else 0.0)
