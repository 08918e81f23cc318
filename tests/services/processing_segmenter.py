"""A segmenter without media: holds a journal, adds a chunk for each file ``more``, and ends on request."""

from __future__ import annotations

import signal
import sys
import time
from fractions import Fraction
from pathlib import Path

from streamwave.model import ChunkRecord, SourceInfo
from streamwave.spool.journal import ChunkLine, EndRecord, JournalWriter, OpenRecord


def main(spool: Path) -> None:
    """Write until a request to stop."""
    stop: list[int] = []
    for asked in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(asked, lambda number, _frame: stop.append(number))
    journal = JournalWriter(spool)
    source = SourceInfo(url="rtmp://127.0.0.1/live/test", container="flv")
    journal.append(OpenRecord(source=source, rate=Fraction(30), sample_rate=None, origin_unix_ms=1))
    number = 0
    while not stop:
        if number == 0 or (spool / "more").exists():
            (spool / "more").unlink(missing_ok=True)
            chunk = ChunkRecord(
                number=number,
                video_file=f"{number:06d}.mkv",
                start_ms=number * 2000,
                next_ms=number * 2000 + 2000,
                pictures=60,
            )
            journal.append(ChunkLine(chunk=chunk))
            number += 1
        time.sleep(0.02)
    journal.append(EndRecord(reason="stopped", ended_unix_ms=time.time_ns() // 1_000_000))
    journal.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
