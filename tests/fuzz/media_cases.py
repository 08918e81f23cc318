"""Runs media files through the library, each in a forked process that may die: ``python -m tests.fuzz.media_cases``.

Reads one path per line from standard input, and writes one line of JSON for each to standard output. The process of a case
and its children have limits on memory and CPU time, and a deadline.
"""

from __future__ import annotations

import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from streamwave.errors import StreamWaveError
from streamwave.ffmpeg.locate import locate
from streamwave.ffmpeg.probe import check_decodable, probe
from streamwave.pipeline import ladder
from streamwave.receive.quick_probe import look
from streamwave.sources.address import resolve_source
from tests.matrix.pipeline import transcode

#: Address space of every process, in bytes; libraries and thread stacks reserve most of it without using it.
ADDRESS_SPACE = 4 << 30
#: Resident memory of a process, in MB.
MOST_RSS_MB = 1024
#: CPU time of each process, and the time-out of a case on a busy machine, in seconds.
CPU_S, DEADLINE_S = 60, 180
_LADDER = '{"rungs": [{"name": "small", "short_side": 32, "max_kbps": 100}], "audio_kbps": 32}'


def case(path: Path, folder: Path) -> dict[str, Any]:
    """Run one file: ``outcome`` is "published" or "refused", with the message in ``said``."""
    try:
        url = resolve_source(str(path))
        info = probe(url)
        check_decodable(info, locate())
        look(url, ladder.plan(info, ladder.load_ladder(_LADDER)))
        made = transcode(path, folder, ladder=_LADDER, segment_s=1)
    except StreamWaveError as error:
        return {"outcome": "refused", "said": str(error)}
    except MemoryError:
        return {"outcome": "memory", "said": traceback.format_exc()}
    except Exception:
        return {"outcome": "crash", "said": traceback.format_exc()}
    return {"outcome": "published", "said": f"{made.filled} filled, {made.damaged} damaged"}


def _in_child(path: Path, folder: Path, out: int) -> None:
    os.setsid()
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    log = os.open(folder / "log", os.O_CREAT | os.O_WRONLY)
    os.dup2(log, 1), os.dup2(log, 2)
    found = case(path, folder)
    most_kb = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    os.write(out, json.dumps({**found, "rss_mb": most_kb // 1024}).encode()[:60_000])


def run(path: Path) -> dict[str, Any]:
    """Run ``case`` in a forked process."""
    folder = Path(tempfile.mkdtemp(prefix="streamwave-fuzz-"))
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _in_child(path, folder, writing)
        finally:
            os._exit(0)
    os.close(writing)
    data, end = b"", time.monotonic() + DEADLINE_S
    hung = False
    while True:
        ready, _, _ = select.select([reading], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            hung = True
            break
        piece = os.read(reading, 65536)
        if not piece:
            break
        data += piece
    os.close(reading)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    words = (folder / "log").read_text("utf-8", "replace")[-2000:] if (folder / "log").exists() else ""
    shutil.rmtree(folder, ignore_errors=True)
    if hung:
        return {"outcome": "hang", "said": words, "rss_mb": usage.ru_maxrss // 1024}
    if not data:
        died = os.waitstatus_to_exitcode(status)
        outcome = "hang" if died == -signal.SIGXCPU else "crash"
        return {"outcome": outcome, "said": f"ended with {died}\n{words}", "rss_mb": usage.ru_maxrss // 1024}
    found: dict[str, Any] = json.loads(data)
    return found


def main() -> int:
    """Serve until standard input ends."""
    for line in sys.stdin:
        print(json.dumps(run(Path(line.rstrip("\n")))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
