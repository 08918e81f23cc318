"""Probe a source in a separate process, because untrusted media may exhaust memory or time, or crash the process.

The process runs within ``SourceLimits`` and a deadline, and returns its findings as JSON. ``serve`` is its side.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from streamwave.errors import SourceError
from streamwave.ffmpeg.admission import lacked_memory, too_much_memory
from streamwave.ffmpeg.limits import USUAL, SourceLimits
from streamwave.ffmpeg.process import kill, spawn
from streamwave.ffmpeg.remedies import how_to_fix
from streamwave.model import SourceInfo
from streamwave.sources.address import local_path, shown
from streamwave.util.private import python_argv

#: Deadline and CPU time in seconds: a large FLV file is searched tag by tag.
DEADLINE_S, CPU_S = 300, 120
#: Maximum size of an answer, which is a few hundred bytes, or one image.
_MAX_ANSWER_BYTES = 8_000_000

Request = dict[str, Any]
Work = Callable[[Request, SourceLimits], Any]


def probe(url: str, audio_track: int | None = None, limits: SourceLimits = USUAL) -> SourceInfo:
    """Probe the resolved ``url``: ``streamwave.ffmpeg.probe.probe`` in a separate process.

    The result for a file is cached until another file is probed or the file changes.

    Raises:
        SourceError: see there; also if the process crashed because of the source.
    """
    with suppress(OSError):
        if url.startswith("file:"):
            found = Path(local_path(url)).stat()
            return _probe_file(url, audio_track, limits, (found.st_ino, found.st_size, found.st_mtime_ns))
    return _probe(url, audio_track, limits)


def _probe(url: str, audio_track: int | None, limits: SourceLimits) -> SourceInfo:
    found = ask("streamwave.ffmpeg.probe", {"url": url, "audio_track": audio_track}, limits)
    return SourceInfo.model_validate(found)


@lru_cache(maxsize=1)
def _probe_file(url: str, audio_track: int | None, limits: SourceLimits, _as_it_was: tuple[int, ...]) -> SourceInfo:
    return _probe(url, audio_track, limits)


def ask(module: str, request: Request, limits: SourceLimits, deadline_s: float = DEADLINE_S) -> Any:
    """Run ``module``, which calls ``serve``, with a ``request`` about the source ``request["url"]``; return its answer.

    Raises:
        SourceError: raised by the process, or it exceeded a limit or ``deadline_s``, or crashed.
    """
    # The URL may contain a key, so it is not passed as an argument, which all users of the machine can read.
    sent = json.dumps({**request, "limits": asdict(limits)}).encode()
    process = spawn(
        python_argv(module),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        confined=True, limits=limits.process(CPU_S),
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    with process.stdout:
        try:
            with suppress(BrokenPipeError), process.stdin:
                process.stdin.write(sent)
            said = _read(process.stdout.fileno(), time.monotonic() + deadline_s)
            late = said is None
            if not late:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(1)
        finally:
            code = kill(process)
    try:
        answer = json.loads(said or b"")
    except ValueError:
        raise SourceError(_died(request["url"], limits, None if late else code, deadline_s)) from None
    if "error" in answer:
        raise SourceError(str(answer["error"]))
    return answer["found"]


def _read(pipe: int, until: float) -> bytes | None:
    """Everything written to ``pipe``; None if that takes too long or is too much."""
    said = b""
    while len(said) <= _MAX_ANSWER_BYTES:
        ready, _, _ = select.select([pipe], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            return None
        piece = os.read(pipe, 1 << 16)
        if not piece:
            return said
        said += piece
    return None


def _died(url: str, limits: SourceLimits, code: int | None, deadline_s: float) -> str:
    if code is None:
        return f"{shown(url)} could not be probed within {deadline_s:g} s; it may be damaged: {how_to_fix(url)}"
    if code == -signal.SIGXCPU:
        return f"{shown(url)} could not be probed within {CPU_S} s of CPU time; it may be damaged: {how_to_fix(url)}"
    if code in (-signal.SIGKILL, -signal.SIGABRT):
        return too_much_memory(url, limits)
    return (
        f"{shown(url)} cannot be read: its content crashed the probing process (status {code}); "
        f"it may be damaged: {how_to_fix(url)}"
    )


def serve(work: Work) -> None:
    """Answer the request on standard input with the result of ``work``, and exit."""
    request = json.load(sys.stdin.buffer)
    limits, url = SourceLimits(**request.pop("limits")), request["url"]
    answer: dict[str, Any] = {}
    try:
        answer["found"] = work(request, limits)
    except SourceError as error:
        answer["error"] = str(error)
        if lacked_memory(limits):
            answer["error"] = too_much_memory(url, limits)
    except MemoryError:
        answer["error"] = too_much_memory(url, limits)
    except Exception as error:  # any error is the source's fault
        reason = (str(error) or "no reason given").splitlines()[0]
        answer["error"] = f"{shown(url)} cannot be read ({type(error).__name__}: {reason}); {how_to_fix(url)}"
    sys.stdout.write(json.dumps(answer))
    sys.stdout.flush()
    os._exit(0)  # skip the clean-up of libraries that have processed untrusted media
